// Stable sort of (key, value) pairs in scratch memory; compiled once, in radix_sort.cu.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "scratch.cuh"

namespace uner3d::cuda {

// Pairs go in and out of the first arrays, which the sort may exchange with the others.
template <class Key>
struct SortBuffers {
  Key* keys;
  std::uint32_t* values;
  Key* other_keys;
  std::uint32_t* other_values;
  void* temp;
  std::int64_t temp_bytes;
};

// Key: std::uint32_t or std::uint64_t; n < 2^31. The device that sorts must be current.
template <class Key>
std::int64_t sort_temp_bytes(std::int64_t n);

template <class Key>
SortBuffers<Key> take_sort_buffers(Scratch& scratch, std::int64_t n) {
  SortBuffers<Key> buffers{};
  buffers.keys = scratch.take<Key>(n);
  buffers.values = scratch.take<std::uint32_t>(n);
  buffers.other_keys = scratch.take<Key>(n);
  buffers.other_values = scratch.take<std::uint32_t>(n);
  buffers.temp_bytes = sort_temp_bytes<Key>(n);
  buffers.temp = scratch.take<char>(buffers.temp_bytes);
  return buffers;
}

// By the lowest n_bits of the keys, ascending.
template <class Key>
void sort_pairs(SortBuffers<Key>& buffers, std::int64_t n, int n_bits, cudaStream_t stream);

}  // namespace uner3d::cuda
