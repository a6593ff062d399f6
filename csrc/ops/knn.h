// Contract of the k-nearest-neighbour search that the CPU and CUDA back ends keep.
#pragma once

#include <cstdint>

#include "../core/knn.h"

namespace uner3d {

using core::kMaxLevels;
using core::kWidth;
constexpr int kMaxNeighbours = 64;

// The tree is implicit: leaf i holds the kd-ordered points [16 i, 16 i + 16); a group holds the boxes of 16 consecutive
// leaves, or of 16 consecutive groups of the level below. All leaves and groups but the last of a level are full.
template <class T>
struct KnnTree {
  const T* points;             // (n, 3) in the caller's order
  const T* leaves;             // (n_leaves, 3, 16) in kd order; infinity where the last leaf has no point
  const std::int32_t* order;   // (n_leaves, 16) index of each into points; 2^31 - 1 where there is none
  const T* boxes;              // (n_groups, 6, 16) low x, y, z, high x, y, z of each child; (inf, -inf) where none
  const std::int32_t* lowest;  // (n_groups, 16) lowest index into points below each child
  std::int64_t n;
};

// Groups of level l (0: their children are leaves) are [first[l], first[l + 1]).
struct KnnLevels {
  int n_levels;
  std::int64_t first[kMaxLevels + 1];
};

inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

inline KnnLevels knn_levels(std::int64_t n_points) {
  KnnLevels levels{0, {0}};
  for (std::int64_t n = ceil_div(n_points, kWidth); n > 0; n = n > 1 ? n : 0) {
    n = ceil_div(n, kWidth);
    levels.first[levels.n_levels + 1] = levels.first[levels.n_levels] + n;
    ++levels.n_levels;
  }
  return levels;
}

template <class T>
struct KnnBuildArgs {
  const T* points;  // (n, 3)
  T* leaves;        // as in KnnTree
  std::int32_t* order;
  T* boxes;
  std::int32_t* lowest;
  std::int64_t n;
};

template <class T>
struct KnnArgs {
  KnnTree<T> tree;
  const T* queries;     // (m, 3)
  T* dist2;             // (m, k) ascending, infinity where there is no neighbour
  std::int64_t* index;  // (m, k) into points; -1 where there is no neighbour
  std::int64_t m;
  int k;     // 1 .. kMaxNeighbours
  T radius;  // neighbours at this distance still count; may be infinite
};

template <class T>
struct KnnGradArgs {
  const T* points;            // (n, 3)
  const T* queries;           // (m, 3)
  const std::int64_t* index;  // (m, k)
  const T* grad_dist2;        // (m, k)
  T* grad_points;             // (n, 3) zeroed by the caller, or null
  T* grad_queries;            // (m, 3), or null
  std::int64_t n, m;
  int k;
};

namespace cpu {
constexpr std::int64_t kAllFinite = -1;

// Row of the first point that is not finite (nothing is built then), or kAllFinite.
template <class T>
std::int64_t knn_build(const KnnBuildArgs<T>& args, int n_threads);
// Row of the first query that is not finite (nothing is written then), or kAllFinite.
template <class T>
std::int64_t knn_forward(const KnnArgs<T>& args, int n_threads);
template <class T>
void knn_backward(const KnnGradArgs<T>& args, int n_threads);
}  // namespace cpu

// `stream` is a cudaStream_t of the device that holds the tensors; nothing is allocated, nothing waits. Points that are
// not finite are never found, queries that are not finite find nothing. The tree must be aligned to 16 bytes; scratch
// memory, aligned to 256, may be given back as soon as a function returns if it is reused in the order of the stream.
namespace cuda {
std::int64_t knn_build_scratch(std::int64_t n, int device);  // bytes
void knn_build(const KnnBuildArgs<float>& args, void* scratch, int device, void* stream);
std::int64_t knn_forward_scratch(std::int64_t n_queries, int device);
void knn_forward(const KnnArgs<float>& args, void* scratch, int device, void* stream);
// Adds up with atomics, in any order, where scratch is null; else in a fixed order.
std::int64_t knn_backward_scratch(std::int64_t n_queries, int k, int device);
void knn_backward(const KnnGradArgs<float>& args, void* scratch, int device, void* stream);
}  // namespace cuda

}  // namespace uner3d
