// Stores of blocks of quads. A quad of more than one float a sample is written in vectors that neighbouring lanes store
// next to each other: with a stride between them every part of a sector would be a write of its own to the L2 cache.
#pragma once

#include "quads.cuh"

namespace uner3d::cuda {

constexpr int kTileFloats = 16 * kWarp;  // of shared memory a warp: a quad of four floats a sample for each lane
constexpr std::size_t kTileBytes = sizeof(float) * kTileFloats * (kThreads / kWarp);  // of all warps of a block

__device__ __forceinline__ float* warp_tile() {
  extern __shared__ float4 staged_quads[];
  return reinterpret_cast<float*>(staged_quads) + threadIdx.x / kWarp * kTileFloats;
}

// The samples [begin, end) of a block are the ray's.
struct OwnSamples {
  int begin, end;
};

__device__ __forceinline__ float4 load_tile4(const float* at) { return *reinterpret_cast<const float4*>(at); }

__device__ __forceinline__ void store4(float* at, const float (&v)[4]) {
  *reinterpret_cast<float4*>(at) = make_float4(v[0], v[1], v[2], v[3]);
}

// The same to global memory; an instruction of its own, since the compiler takes a plain store apart where the other
// branch stores single floats.
__device__ __forceinline__ void store_global4(float* at, const float (&v)[4]) {
#if defined(__CUDACC__)
  asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(at)), "f"(v[0]), "f"(v[1]),
               "f"(v[2]), "f"(v[3])
               : "memory");
#else
  store4(at, v);  // compiled for the host by a test
#endif
}

// Writes the floats [begin, end) of the four at out + at. `vector`: they are aligned to 16 bytes.
__device__ __forceinline__ void store_some(float* out, int at, const float (&values)[4], int begin, int end,
                                           bool vector) {
  if (vector && at >= begin && at + 4 <= end) {
    store_global4(out + at, values);
  } else {
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (at + k >= begin && at + k < end) out[at + k] = values[k];
  }
}

// Writes a block of kEach floats a sample; `out` is that of the block's first sample. By all lanes of the warp.
template <int kEach>
__device__ __forceinline__ void store_block(const Group& group, const float (&values)[kQuad * kEach],
                                            const OwnSamples& own, bool vector, float* out) {
  if constexpr (kEach == 1) {
    store_some(out, kQuad * group.lane, values, own.begin, own.end, vector);
  } else {
    float* tile = warp_tile() + group.start * kQuad * kEach;
    __syncwarp();  // all have read what came before
#pragma unroll
    for (int j = 0; j < kEach; ++j)
      store4(tile + kQuad * (group.lane * kEach + j),
             {values[4 * j], values[4 * j + 1], values[4 * j + 2], values[4 * j + 3]});
    __syncwarp();
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const int at = 4 * (group.lane + j * group.width);
      const float4 v = load_tile4(tile + at);
      store_some(out, at, {v.x, v.y, v.z, v.w}, own.begin * kEach, own.end * kEach, vector);
    }
  }
}

// The same of one float a sample where `out` has any alignment: neighbouring lanes write neighbouring floats.
__device__ __forceinline__ void store_unaligned(const Group& group, const float (&values)[kQuad], const OwnSamples& own,
                                                float* out) {
  // Groups lie apart by more than their samples, so that lanes of the same place read from other banks.
  const int stride = kQuad * group.width + max(kQuad, group.width);
  float* tile = warp_tile() + (group.start >> group.log_width) * stride;
  __syncwarp();
  store4(tile + kQuad * group.lane, values);
  __syncwarp();
#pragma unroll
  for (int j = 0; j < kQuad; ++j) {
    const int at = group.lane + j * group.width;
    if (at >= own.begin && at < own.end) out[at] = tile[at];
  }
}

}  // namespace uner3d::cuda
