// Vectors of the width this module is compiled for, and a split of channels into blocks of them. Compiler vectors rather
// than intrinsics: the same lines become SSE, AVX2, AVX-512 or NEON.
#pragma once

#include <cstdint>
#include <type_traits>

namespace uner3d::cpu {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T, int N>
struct Lanes {
  typedef T type __attribute__((vector_size(sizeof(T) * N)));
};
template <class T>
struct Lanes<T, 1> {
  using type = T;
};

// kCount neighbouring vectors of kWidth channels each.
template <class T, int kWidth_, int kCount_>
struct Block {
  using Vector = typename Lanes<T, kWidth_>::type;
  static constexpr int kWidth = kWidth_, kCount = kCount_;
};

template <class V, class T>
inline __attribute__((always_inline)) V load(const T* from) {
  V value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}

template <class V, class T>
inline __attribute__((always_inline)) void store(T* to, V value) {
  __builtin_memcpy(to, &value, sizeof value);
}

template <class T, class V>
inline __attribute__((always_inline)) T sum_lanes(V value) {
  if constexpr (std::is_same_v<T, V>) {
    return value;
  } else {
    T sum = 0;
    for (std::size_t i = 0; i < sizeof(V) / sizeof(T); ++i) sum += value[i];
    return sum;
  }
}

// Calls f(block, channel) over [0, n): whole vectors first, several at once, then what is left, in ever smaller ones.
template <class T, class F>
inline __attribute__((always_inline)) void for_channel_blocks(std::int64_t n, const F& f) {
  constexpr int kWide = kVectorBytes / sizeof(T), kQuarter = 16 / sizeof(T);
  std::int64_t c = 0;
  for (; c + 4 * kWide <= n; c += 4 * kWide) f(Block<T, kWide, 4>{}, c);
  if (c + 2 * kWide <= n) f(Block<T, kWide, 2>{}, c), c += 2 * kWide;
  if (c + kWide <= n) f(Block<T, kWide, 1>{}, c), c += kWide;
  if constexpr (kWide > kQuarter) {
    if constexpr (kWide > 2 * kQuarter)
      if (c + 2 * kQuarter <= n) f(Block<T, 2 * kQuarter, 1>{}, c), c += 2 * kQuarter;
    if (c + kQuarter <= n) f(Block<T, kQuarter, 1>{}, c), c += kQuarter;
  }
  if (c + 2 <= n) f(Block<T, 1, 2>{}, c), c += 2;
  if (c < n) f(Block<T, 1, 1>{}, c);
}

}  // namespace uner3d::cpu
