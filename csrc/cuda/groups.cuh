// Groups of neighbouring lanes that share a piece of work, and what they tell each other. All of this is warp-wide:
// every lane of the warp must arrive, those of groups without work included.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "launch.cuh"

namespace uner3d::cuda {

constexpr unsigned kFullWarp = 0xffffffffu;
constexpr int kLogWarp = 5;

// Exponent of the smallest power of two from n on, at most that of a warp.
inline int log_group(std::int64_t n) {
  int log = 0;
  while (log < kLogWarp && (std::int64_t(1) << log) < n) ++log;
  return log;
}

struct Group {
  int log_width, width;  // lanes, a power of two
  int lane;              // of this thread in its group
  int start;             // the group's first lane in the warp

  __device__ __forceinline__ explicit Group(int log)
      : log_width(log),
        width(1 << log),
        lane(static_cast<int>(threadIdx.x) & (width - 1)),
        start(static_cast<int>(threadIdx.x) & (kWarp - 1) & ~(width - 1)) {}

  // The value that lane `source` of the group holds.
  template <class T>
  __device__ __forceinline__ T from(T value, int source) const {
    return __shfl_sync(kFullWarp, value, start + source);
  }
  // The value of the lane before (after) this one, `fill` at the end.
  __device__ __forceinline__ float previous(float value, float fill) const {
    const float other = __shfl_up_sync(kFullWarp, value, 1, width);
    return lane > 0 ? other : fill;
  }
  __device__ __forceinline__ float next(float value, float fill) const {
    const float other = __shfl_down_sync(kFullWarp, value, 1, width);
    return lane < width - 1 ? other : fill;
  }
  // Bit i: whether it holds in lane i of the group.
  __device__ __forceinline__ unsigned ballot(bool holds) const {
    return (__ballot_sync(kFullWarp, holds) >> start) & (kFullWarp >> (kWarp - width));
  }
  // Sum over the group, the same bits in all its lanes.
  __device__ __forceinline__ float sum(float value) const {
    for (int d = width >> 1; d > 0; d >>= 1) value += __shfl_xor_sync(kFullWarp, value, d);
    return value;
  }
  // Sum over lane 0 .. this, over this .. last, and the product over 0 .. this.
  __device__ __forceinline__ float prefix_sum(float value) const {
    for (int d = 1; d < width; d <<= 1) {
      const float other = __shfl_up_sync(kFullWarp, value, d, width);
      if (lane >= d) value += other;
    }
    return value;
  }
  __device__ __forceinline__ float suffix_sum(float value) const {
    for (int d = 1; d < width; d <<= 1) {
      const float other = __shfl_down_sync(kFullWarp, value, d, width);
      if (lane + d < width) value += other;
    }
    return value;
  }
  __device__ __forceinline__ float prefix_product(float value) const {
    for (int d = 1; d < width; d <<= 1) {
      const float other = __shfl_up_sync(kFullWarp, value, d, width);
      if (lane >= d) value *= other;
    }
    return value;
  }
  // Sum over the groups of a warp, lane by lane: every group gets it.
  __device__ __forceinline__ float sum_groups(float value) const {
    for (int d = width; d < kWarp; d <<= 1) value += __shfl_xor_sync(kFullWarp, value, d);
    return value;
  }
};

// Calls body(i) for i < n, a group an item. The groups of a warp stay together, so that body may use warp-wide
// operations; those with nothing left are called with i >= n.
template <class Body>
__device__ __forceinline__ void for_groups(const Group& group, std::int64_t n, const Body& body) {
  const std::int64_t thread = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const std::int64_t step = (static_cast<std::int64_t>(gridDim.x) * blockDim.x) >> group.log_width;
  for (std::int64_t first = (thread & ~std::int64_t(kWarp - 1)) >> group.log_width; first < n; first += step)
    body(first + (group.start >> group.log_width));
}

// Blocks for n items, a group each; at most `most`, which bounds what a block pays before it starts.
inline unsigned group_grid(std::int64_t n, int log_width, std::int64_t most, int n_threads = kThreads) {
  return grid_size(std::min(ceil_div(n, n_threads >> log_width), most));
}

}  // namespace uner3d::cuda
