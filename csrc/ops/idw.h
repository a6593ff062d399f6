// Contract of inverse-distance weighting over the k nearest points.
#pragma once

#include <cstdint>

#include "knn.h"

namespace uner3d {

template <class T>
struct IdwArgs {
  KnnTree<T> tree;
  const T* values;         // (n, c)
  const T* queries;        // (m, 3)
  const T* weights;        // (n,) not negative, or null
  const T* normals;        // (n, 3), or null
  const T* query_normals;  // (m, 3), null exactly where normals is
  std::int64_t m, c;
  int k;         // 1 .. kMaxNeighbours
  T power;       // > 0
  T softening2;  // eps^(2/power); negative: half the local spacing, squared
  T radius;      // neighbours at this distance still count; may be infinite
};

// Zeroed by the caller; null where not wanted.
template <class T>
struct IdwGrads {
  T* values;   // (n, c)
  T* weights;  // (n,)
  T* queries;  // (m, 3)
  T* points;   // (n, 3)
};

namespace cpu {
// out (m, c). Row of the first query that is not finite (nothing is written then), or kAllFinite.
template <class T>
std::int64_t idw_forward(const IdwArgs<T>& args, T* out, int n_threads);
// The search runs again, so nothing of size (m, k) is kept.
template <class T>
void idw_backward(const IdwArgs<T>& args, const T* grad_out, const IdwGrads<T>& grads, int n_threads);
}  // namespace cpu

}  // namespace uner3d
