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

namespace cuda {
enum class ValueType : int { kFloat32, kFloat16, kBFloat16 };

// Rows of values (n, c), or of as many queries, in one of the types; sums are in float32.
struct TypedRows {
  void* data;
  ValueType type;
};

// As for knn (ops/knn.h); `args.values` is not read. Queries that are not finite get zeros.
std::int64_t idw_forward_scratch(std::int64_t n_queries, int device);
void idw_forward(const IdwArgs<float>& args, const TypedRows& values, const TypedRows& out, void* scratch, int device,
                 void* stream);
// grad_out has the type of the values. Point gradients are added up with atomics, in any order, or in a fixed order.
std::int64_t idw_backward_scratch(std::int64_t n_queries, int k, bool fixed_order, int device);
void idw_backward(const IdwArgs<float>& args, const TypedRows& values, const void* grad_out,
                  const IdwGrads<float>& grads, bool fixed_order, void* scratch, int device, void* stream);
}  // namespace cuda

}  // namespace uner3d
