#include "../core/knn_build.h"
#include "launch.cuh"
#include "spatial_order.cuh"

namespace uner3d::cuda {
namespace {

constexpr int kAllBits = 62;  // one segment, whatever n
constexpr std::int64_t kChunk = core::kBlockPoints;

// A chunk lies in one segment, so a block adds to one row.
__global__ void __launch_bounds__(kThreads) bounds_of_chunks(const float* points, const std::uint32_t* order,
                                                             std::int64_t n, int segment_bits, std::uint32_t* bounds) {
  __shared__ std::uint32_t shared[core::kBounds];
  for (std::int64_t first = kChunk * blockIdx.x; first < n; first += kChunk * gridDim.x) {
    if (threadIdx.x < core::kBounds) shared[threadIdx.x] = 0;
    __syncthreads();
    std::uint32_t most[core::kBounds] = {};
    for (std::int64_t i = first + threadIdx.x; i < n && i < first + kChunk; i += blockDim.x) {
      const std::int64_t row = order == nullptr ? i : order[i];
      std::uint32_t own[core::kBounds];
      core::point_bounds(points + 3 * row, own);
#pragma unroll
      for (int b = 0; b < core::kBounds; ++b) most[b] = max(most[b], own[b]);
    }
#pragma unroll
    for (int b = 0; b < core::kBounds; ++b) {
      most[b] = warp_max(most[b]);
      if (threadIdx.x % kWarp == 0) atomicMax(shared + b, most[b]);
    }
    __syncthreads();
    if (threadIdx.x < core::kBounds)
      atomicMax(bounds + (first >> segment_bits) * core::kBounds + threadIdx.x, shared[threadIdx.x]);
    __syncthreads();
  }
}

__global__ void __launch_bounds__(kThreads) encode(const float* queries, std::int64_t n, const std::uint32_t* bounds,
                                                   std::uint64_t* keys, std::uint32_t* values) {
  grid_stride(n, [&](std::int64_t i) {
    keys[i] = core::curve_position(queries + 3 * i, bounds);
    values[i] = static_cast<std::uint32_t>(i);
  });
}

}  // namespace

void segment_bounds(const float* points, const std::uint32_t* order, std::int64_t n, int segment_bits,
                    std::uint32_t* bounds, cudaStream_t stream) {
  const std::int64_t n_segments = ((n - 1) >> segment_bits) + 1;
  UNER3D_CUDA_CHECK(cudaMemsetAsync(bounds, 0, n_segments * core::kBounds * sizeof(*bounds), stream));
  bounds_of_chunks<<<grid_size(ceil_div(n, kChunk)), kThreads, 0, stream>>>(points, order, n, segment_bits, bounds);
  check_launch("bounds_of_chunks");
}

const std::uint32_t* QueryOrder::sort(const float* queries, std::int64_t n, cudaStream_t stream) {
  segment_bounds(queries, nullptr, n, kAllBits, bounds, stream);
  encode<<<grid_size(ceil_div(n, kThreads)), kThreads, 0, stream>>>(queries, n, bounds, buffers.keys, buffers.values);
  check_launch("encode");
  sort_pairs(buffers, n, 64, stream);
  return buffers.values;
}

}  // namespace uner3d::cuda
