// Enough of CUDA to compile kernels as plain C++ and run them on the CPU, lane by lane: what they compute, which lanes
// talk to which, and whether all arrive can be tested on a machine without a GPU. Blocks run one after another; within
// one, every thread is a fiber that gives way at each warp-wide operation. A warp goes on only once all its lanes stand
// at the same one, so lanes that miss it, or stand elsewhere, are an error here where a GPU would hang or lie.
#pragma once

#include <math.h>
#include <stdint.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "fibers.h"

#define __host__
#define __device__
#define __global__
#define __shared__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)

struct float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

using std::max;
using std::min;

inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __float_as_int(float x) {
  int bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float __uint_as_float(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
template <class T>
T __ldg(const T* p) {
  if (reinterpret_cast<std::uintptr_t>(p) % sizeof(T) != 0) host_cuda::fail("misaligned load");
  return *p;
}
inline void atomicAdd(float* to, float x) { *to += x; }
inline void atomicAdd(float4* to, float4 v) {
  if (reinterpret_cast<std::uintptr_t>(to) % sizeof(float4) != 0) host_cuda::fail("misaligned vector atomic");
  to->x += v.x, to->y += v.y, to->z += v.z, to->w += v.w;
}

#define HOST_CUDA_TEXT2(x) #x
#define HOST_CUDA_TEXT(x) HOST_CUDA_TEXT2(x)
#define HOST_CUDA_HERE __FILE__ ":" HOST_CUDA_TEXT(__LINE__)
#define __syncthreads() host_cuda::sync_block(HOST_CUDA_HERE)
#define __syncwarp() host_cuda::ballot(HOST_CUDA_HERE, 0xffffffffu, true)
#define __ballot_sync(mask, holds) host_cuda::ballot(HOST_CUDA_HERE, mask, holds)
#define __any_sync(mask, holds) (host_cuda::ballot(HOST_CUDA_HERE, mask, holds) != 0)
#define __shfl_sync(mask, value, lane) host_cuda::shuffle(HOST_CUDA_HERE, mask, value, (lane) & 31)
#define __shfl_xor_sync(mask, value, d) host_cuda::shuffle(HOST_CUDA_HERE, mask, value, host_cuda::lane() ^ (d))
#define __shfl_up_sync(mask, value, d, width) \
  host_cuda::shuffle(HOST_CUDA_HERE, mask, value, host_cuda::up(host_cuda::lane(), d, width))
#define __shfl_down_sync(mask, value, d, width) \
  host_cuda::shuffle(HOST_CUDA_HERE, mask, value, host_cuda::down(host_cuda::lane(), d, width))

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess, cudaErrorLaunchFailure };
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "the kernel failed on the host"; }
inline const char* cudaGetErrorName(cudaError_t) { return "cudaErrorLaunchFailure"; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

template <class... Params, class... Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Params...), const Args&... args) {
  host_cuda::run_grid(config->gridDim.x, config->blockDim.x, config->dynamicSmemBytes, [&] { kernel(args...); });
  return cudaSuccess;
}
