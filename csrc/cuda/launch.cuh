// What the launchers share: the device of the tensors, grid sizes and grid-stride loops with 64-bit counts.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "check.cuh"

namespace uner3d::cuda {

constexpr int kThreads = 256;  // per block, unless a kernel says otherwise
constexpr int kWarp = 32;

// Makes `device` current while it lives; the caller's device comes back on every way out.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device) : device_(device) {
    UNER3D_CUDA_CHECK(cudaGetDevice(&previous_));
    if (previous_ != device_) UNER3D_CUDA_CHECK(cudaSetDevice(device_));
  }
  ~DeviceGuard() {
    if (previous_ != device_) (void)cudaSetDevice(previous_);
  }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int device_, previous_ = 0;
};

// Blocks to launch for `n_blocks` blocks of work, at least one; kernels loop over what does not fit into one grid.
inline unsigned grid_size(std::int64_t n_blocks) {
  return static_cast<unsigned>(std::clamp<std::int64_t>(n_blocks, 1, std::numeric_limits<std::int32_t>::max()));
}

inline std::int64_t ceil_div(std::int64_t n, std::int64_t size) { return (n + size - 1) / size; }

// Calls body(i) for every i < n, spread over all threads of the grid.
template <class Body>
__device__ __forceinline__ void grid_stride(std::int64_t n, const Body& body) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) body(i);
}

// Largest x of the warp, all lanes of which must call.
__device__ __forceinline__ std::uint32_t warp_max(std::uint32_t x) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) x = max(x, __shfl_xor_sync(0xffffffffu, x, step));
  return x;
}

// Whether 16-byte accesses are allowed at p.
__device__ __forceinline__ bool is_aligned16(const void* p) { return (reinterpret_cast<std::uintptr_t>(p) & 15) == 0; }

// Copies `count` floats with all threads of a block, one of the two in shared memory aligned to 16 bytes; in 16-byte
// accesses where the one in global memory is aligned too.
__device__ __forceinline__ void block_copy(float* dst, const float* src, int count) {
  int copied = 0;
  if (is_aligned16(dst) && is_aligned16(src)) {
    copied = count & ~3;
    for (int i = threadIdx.x; i < count / 4; i += blockDim.x)
      reinterpret_cast<float4*>(dst)[i] = reinterpret_cast<const float4*>(src)[i];
  }
  for (int i = copied + threadIdx.x; i < count; i += blockDim.x) dst[i] = src[i];
}

}  // namespace uner3d::cuda
