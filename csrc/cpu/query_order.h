// Sorts queries along a Morton curve, so that a run of them asks for the same leaves.
#pragma once

#include <cstring>
#include <memory>

#include "parallel.h"

namespace uner3d::cpu {

constexpr std::int64_t kQueryChunk = std::int64_t(1) << 20;  // queries sorted together: bounds the scratch memory

template <class T>
class QueryOrder {
 public:
  explicit QueryOrder(std::int64_t most)
      : keys_(new std::uint64_t[std::min(most, kQueryChunk)]), other_(new std::uint64_t[std::min(most, kQueryChunk)]) {}

  // Sorts q (n, 3), n <= kQueryChunk. Deterministic; equal codes keep their order.
  void sort(const T* q, std::int64_t n, int n_threads) {
    encode(q, n, n_threads);
    for (int shift = kIndexBits; shift < kIndexBits + 3 * kAxisBits; shift += kDigitBits)
      radix_pass(n, shift, n_threads);
  }

  std::int64_t operator[](std::int64_t i) const { return static_cast<std::int64_t>(keys_[i] & (kQueryChunk - 1)); }

 private:
  static constexpr int kIndexBits = 20, kAxisBits = 11, kDigitBits = 11, kDigits = 1 << kDigitBits;
  static constexpr std::int64_t kBlock = 1 << 16, kMostBlocks = kQueryChunk / kBlock;

  // Two zero bits before every bit of the 11.
  static std::uint64_t spread(std::uint64_t v) {
    v = (v | (v << 16)) & 0x00ff0000ff0000ffULL;
    v = (v | (v << 8)) & 0xf00f00f00f00f00fULL;
    v = (v | (v << 4)) & 0x30c30c30c30c30c3ULL;
    return (v | (v << 2)) & 0x9249249249249249ULL;
  }

  // Halved before the subtraction, so that no difference of finite coordinates overflows.
  void encode(const T* q, std::int64_t n, int n_threads) {
    T low[3] = {q[0], q[1], q[2]}, high[3] = {q[0], q[1], q[2]};
    for (std::int64_t i = 0; i < n; ++i)
      for (int d = 0; d < 3; ++d) low[d] = std::min(low[d], q[3 * i + d]), high[d] = std::max(high[d], q[3 * i + d]);
    T side = T(0);
    for (int d = 0; d < 3; ++d) side = std::max(side, T(0.5) * high[d] - T(0.5) * low[d]);
    const T last = static_cast<T>((1 << kAxisBits) - 1);
    parallel_for(n, kBlock, n_threads, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        std::uint64_t code = 0;
        for (int d = 0; d < 3; ++d) {
          const T part = side > T(0) ? (T(0.5) * q[3 * i + d] - T(0.5) * low[d]) / side : T(0);
          code |= spread(static_cast<std::uint64_t>(std::min(part, T(1)) * last)) << d;
        }
        keys_[i] = (code << kIndexBits) | static_cast<std::uint64_t>(i);
      }
    });
  }

  // Least significant digit first; blocks are fixed, so the result does not depend on the thread count.
  void radix_pass(std::int64_t n, int shift, int n_threads) {
    auto digit = [&](std::uint64_t key) { return static_cast<int>((key >> shift) & (kDigits - 1)); };
    std::unique_ptr<std::int32_t[]> counts(new std::int32_t[kMostBlocks * kDigits]);
    parallel_for(n, kBlock, n_threads, [&](std::int64_t begin, std::int64_t end) {
      std::int32_t* count = counts.get() + begin / kBlock * kDigits;
      std::memset(count, 0, kDigits * sizeof(*count));
      for (std::int64_t i = begin; i < end; ++i) ++count[digit(keys_[i])];
    });
    const std::int64_t n_blocks = (n + kBlock - 1) / kBlock;
    std::int32_t start = 0;
    for (int d = 0; d < kDigits; ++d)
      for (std::int64_t b = 0; b < n_blocks; ++b) {
        const std::int32_t count = counts[b * kDigits + d];
        counts[b * kDigits + d] = start;
        start += count;
      }
    parallel_for(n, kBlock, n_threads, [&](std::int64_t begin, std::int64_t end) {
      std::int32_t* next = counts.get() + begin / kBlock * kDigits;
      for (std::int64_t i = begin; i < end; ++i) other_[next[digit(keys_[i])]++] = keys_[i];
    });
    keys_.swap(other_);
  }

  std::unique_ptr<std::uint64_t[]> keys_, other_;
};

}  // namespace uner3d::cpu
