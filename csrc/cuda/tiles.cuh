// Tiles of a long run of floats, moved between global and shared memory by all kThreads threads of a block.
#pragma once

#include "bulk_copy.cuh"
#include "launch.cuh"

namespace uner3d::cuda {

constexpr int kLoadsAtOnce = 5;  // of 16 bytes: 20 KiB are one round

// Calls store(i, load(i)) for every i < count. All loads of a round come before its stores: the compiler, which cannot
// know that they do not overlap, would leave one load under way at a time.
template <class Load, class Store>
__device__ __forceinline__ void move_vectors(int count, const Load& load, const Store& store) {
  for (int first = static_cast<int>(threadIdx.x); first < count; first += kLoadsAtOnce * kThreads) {
    float4 values[kLoadsAtOnce];
#pragma unroll
    for (int k = 0; k < kLoadsAtOnce; ++k)
      if (first + k * kThreads < count) values[k] = load(first + k * kThreads);
#pragma unroll
    for (int k = 0; k < kLoadsAtOnce; ++k)
      if (first + k * kThreads < count) store(first + k * kThreads, values[k]);
  }
}

// From shared memory aligned to 16 bytes. Stored as what is not read again soon: it should not displace what is.
__device__ __forceinline__ void copy_to_global(float* to, const float* from, int count) {
  const int n_vectors = is_aligned16(to) ? count / 4 : 0;
  move_vectors(
      n_vectors, [&](int i) { return reinterpret_cast<const float4*>(from)[i]; },
      [&](int i, const float4& value) { __stcs(reinterpret_cast<float4*>(to) + i, value); });
  for (int i = 4 * n_vectors + static_cast<int>(threadIdx.x); i < count; i += kThreads) __stcs(to + i, from[i]);
}

// To shared memory aligned to 16 bytes.
__device__ __forceinline__ void copy_to_shared(float* to, const float* from, int count) {
  const int n_vectors = is_aligned16(from) ? count / 4 : 0;
  move_vectors(
      n_vectors, [&](int i) { return __ldg(reinterpret_cast<const float4*>(from) + i); },
      [&](int i, const float4& value) { reinterpret_cast<float4*>(to)[i] = value; });
  for (int i = 4 * n_vectors + static_cast<int>(threadIdx.x); i < count; i += kThreads) to[i] = __ldg(from + i);
}

// A run of floats in global memory, cut into tiles; the last one may be shorter.
struct TiledRun {
  const float* floats;
  std::int64_t n_floats, n_tiles;
  int tile_floats;

  __device__ __forceinline__ const float* begin(std::int64_t t) const { return floats + t * tile_floats; }
  __device__ __forceinline__ int count(std::int64_t t) const {
    return static_cast<int>(min(static_cast<std::int64_t>(tile_floats), n_floats - t * tile_floats));
  }
};

// Reads the tiles blockIdx.x, blockIdx.x + gridDim.x, ... of a run, of at most kFloats each. To be made, and load() to
// be called, by all threads of the block, with a __syncthreads() from the last access to a tile to the next load().
#if UNER3D_BULK_COPY
// While a block works on one tile, the next is on its way to the other buffer. A tile whose bytes are no multiple of 16
// is copied by the threads. In a run that starts aligned and has whole tiles of such a size this can be the last tile
// alone, so that no bulk copy overwrites what threads wrote, for which a fence between the proxies would be needed.
template <int kFloats>
class TileReader {
 public:
  struct Memory {
    alignas(128) float tiles[2][kFloats];
    CopyBarrier arrived[2];
  };

  __device__ __forceinline__ TileReader(Memory& memory, const TiledRun& run)
      : memory_(memory),
        run_(run),
        is_bulk_(is_aligned16(run.floats) && run.tile_floats % 4 == 0 && run.tile_floats > 0) {
    if (threadIdx.x == 0) {
      for (CopyBarrier& barrier : memory_.arrived) init_barrier(&barrier);
      publish_barriers();
    }
    __syncthreads();
    if (threadIdx.x == 0 && is_bulk(blockIdx.x)) start(blockIdx.x, 0);
  }

  // Tile t in shared memory.
  __device__ __forceinline__ const float* load(std::int64_t t) {
    const std::int64_t next = t + gridDim.x;
    if (threadIdx.x == 0 && is_bulk(next)) start(next, buffer_ ^ 1);
    float* tile = memory_.tiles[buffer_];
    if (is_bulk(t)) {
      wait_for_copy(&memory_.arrived[buffer_], parity_);
    } else {
      copy_to_shared(tile, run_.begin(t), run_.count(t));
      __syncthreads();
    }
    parity_ ^= buffer_;  // a phase of either barrier is over once both had their turn
    buffer_ ^= 1;
    return tile;
  }

 private:
  __device__ __forceinline__ bool is_bulk(std::int64_t t) const {
    return is_bulk_ && t < run_.n_tiles && run_.count(t) % 4 == 0;
  }
  __device__ __forceinline__ void start(std::int64_t t, unsigned buffer) {
    const unsigned n_bytes = static_cast<unsigned>(run_.count(t)) * static_cast<unsigned>(sizeof(float));
    start_copy(memory_.tiles[buffer], run_.begin(t), n_bytes, &memory_.arrived[buffer]);
  }

  Memory& memory_;
  const TiledRun run_;
  const bool is_bulk_;
  unsigned buffer_ = 0, parity_ = 0;
};
#else
template <int kFloats>
class TileReader {
 public:
  struct Memory {
    alignas(16) float tile[kFloats];
  };

  __device__ __forceinline__ TileReader(Memory& memory, const TiledRun& run) : memory_(memory), run_(run) {}

  // Tile t in shared memory.
  __device__ __forceinline__ const float* load(std::int64_t t) {
    copy_to_shared(memory_.tile, run_.begin(t), run_.count(t));
    __syncthreads();
    return memory_.tile;
  }

 private:
  Memory& memory_;
  const TiledRun run_;
};
#endif

// Blocks for a kernel that loops over n_tiles tiles: as many as the device runs at once, so that each has a next tile
// to fetch ahead. Asks about the kernel as compiled for this device, whose shared memory depends on UNER3D_BULK_COPY.
template <class... Params>
unsigned persistent_grid(void (*kernel)(Params...), std::int64_t n_tiles, int device) {
  int per_multiprocessor = 0, n_multiprocessors = 0;
  UNER3D_CUDA_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_multiprocessor, kernel, kThreads, 0));
  UNER3D_CUDA_CHECK(cudaDeviceGetAttribute(&n_multiprocessors, cudaDevAttrMultiProcessorCount, device));
  return grid_size(std::min(n_tiles, std::int64_t{per_multiprocessor} * n_multiprocessors));
}

}  // namespace uner3d::cuda
