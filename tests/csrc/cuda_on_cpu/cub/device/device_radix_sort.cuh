#pragma once

#include <cuda_runtime.h>

namespace cub {

template <class T>
struct DoubleBuffer {
  DoubleBuffer(T* current, T* alternate) : d_buffers{current, alternate} {}
  T* Current() { return d_buffers[selector]; }
  T* Alternate() { return d_buffers[selector ^ 1]; }
  T* d_buffers[2];
  int selector = 0;
};

struct DeviceRadixSort {
  static constexpr std::size_t kTempBytes = 1000;

  // The sorted pairs end up in either of the buffers, the other is left in disorder, as by the real one.
  template <class Key, class Value>
  static cudaError_t SortPairs(void* temp, std::size_t& temp_bytes, DoubleBuffer<Key>& keys,
                               DoubleBuffer<Value>& values, int n, int begin_bit, int end_bit, cudaStream_t) {
    if (temp == nullptr) return temp_bytes = kTempBytes, cudaSuccess;
    if (temp_bytes < kTempBytes || n < 0 || end_bit > static_cast<int>(8 * sizeof(Key))) return 1;
    std::memset(temp, 0x5a, kTempBytes);
    const Key ones = ~Key(0), mask = (ones << begin_bit) & (ones >> (8 * sizeof(Key) - end_bit));
    std::vector<int> order(n);
    std::iota(order.begin(), order.end(), 0);
    Key* k = keys.Current();
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return (k[a] & mask) < (k[b] & mask); });
    std::vector<Key> sorted_keys(n);
    std::vector<Value> sorted_values(n);
    for (int i = 0; i < n; ++i) sorted_keys[i] = k[order[i]], sorted_values[i] = values.Current()[order[i]];
    const int passes = (end_bit - begin_bit + 7) / 8;
    keys.selector ^= passes & 1, values.selector ^= passes & 1;
    std::copy(sorted_keys.begin(), sorted_keys.end(), keys.Current());
    std::copy(sorted_values.begin(), sorted_values.end(), values.Current());
    std::fill_n(keys.Alternate(), n, Key(0x77));
    std::fill_n(values.Alternate(), n, Value(0x77));
    return cudaSuccess;
  }
};

}  // namespace cub
