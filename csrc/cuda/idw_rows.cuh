// What the kernels of inverse-distance weighting share: neighbours of a block's queries in shared memory, and rows of
// values in several types.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "../core/idw_row.h"
#include "../ops/idw.h"
#include "knn_search.cuh"

namespace uner3d::cuda {

// Queries of a block: as many as shared memory has room for (48 KiB in the backward).
template <int K>
constexpr int kIdwThreads = K <= 32 ? 128 : 64;

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__half x) { return __half2float(x); }
__device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ void from_float(float x, float* out) { *out = x; }
__device__ __forceinline__ void from_float(float x, __half* out) { *out = __float2half_rn(x); }
__device__ __forceinline__ void from_float(float x, __nv_bfloat16* out) { *out = __float2bfloat16_rn(x); }

// Calls body with a null pointer of the type.
template <class Body>
__device__ __forceinline__ void with_type(ValueType type, const Body& body) {
  if (type == ValueType::kFloat32)
    body(static_cast<const float*>(nullptr));
  else if (type == ValueType::kFloat16)
    body(static_cast<const __half*>(nullptr));
  else
    body(static_cast<const __nv_bfloat16*>(nullptr));
}

// Queries `base` to `base + n` in `order`.
struct IdwChunk {
  const std::uint32_t* order;
  std::int64_t base, n;
};

// Finds the neighbours of a query and stores them in the thread's columns; returns how many.
template <int K>
__device__ __forceinline__ int fill_columns(const IdwArgs<float>& a, const KnnLevels& levels, core::Key<float> limit,
                                            std::int64_t row, const core::NeighbourColumns& columns) {
  const float q[3] = {a.queries[3 * row], a.queries[3 * row + 1], a.queries[3 * row + 2]};
  core::NearestK<K> best;
  find_nearest(a.tree, levels, q, a.k, limit, best);
  int n = 0;
#pragma unroll
  for (int slot = 0; slot < K; ++slot) {
    const std::int32_t index = core::key_index<float>(best[slot]);
    if (slot < K - a.k || index == core::kNoIndex) continue;
    columns.index[n * columns.stride] = index;
    columns.dist2[n * columns.stride] = core::key_dist2<float>(best[slot]);
    ++n;
  }
  return n;
}

// Calls body(row, c) for the cells of a table with lanes over neighbouring channels; all lanes of the warp call.
template <class Body>
__device__ __forceinline__ void for_cells_of_warp(int n_rows, std::int64_t n_channels, const Body& body) {
  const int lane = threadIdx.x % kWarp;
  const int width = static_cast<int>(min(n_channels, static_cast<std::int64_t>(kWarp + 1)));  // wide ones are alike
  if (width == 0) return;
  int row = lane / width;
  std::int64_t c = lane % width;
  const int row_step = kWarp / width, c_step = kWarp % width;
  while (row < n_rows) {
    body(row, c);
    row += row_step, c += c_step;
    if (c >= n_channels) c -= n_channels, ++row;
  }
}

}  // namespace uner3d::cuda
