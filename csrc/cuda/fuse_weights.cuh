// The weight of a view at a point, as fuse_views takes it from its arguments.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace uner3d::cuda {

// As given, 1 where none is.
template <class Args>
__device__ __forceinline__ float raw_weight(const Args& a, std::int64_t point, int view) {
  if (!a.view_weights) return 1.0f;
  return __ldg(a.view_weights + (a.weights_per_point ? point * a.views.n_views + view : view));
}

__device__ __forceinline__ float positive_part(float w) { return w > 0 ? w : 0.0f; }  // 0 for NaN

template <class Args>
__device__ __forceinline__ float view_weight(const Args& a, std::int64_t point, int view) {
  return positive_part(raw_weight(a, point, view));
}

}  // namespace uner3d::cuda
