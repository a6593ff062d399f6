// Running products and sums over an array, a vector register at a time. The compilers' own vectorisers leave such loops
// scalar, so this is written with the vector extensions that GCC and Clang share; the width follows the target.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#include "../core/hd.h"

namespace uner3d::cpu {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T>
struct Vector;
template <>
struct Vector<float> {
  typedef float Type __attribute__((vector_size(kVectorBytes)));
  typedef std::int32_t Mask __attribute__((vector_size(kVectorBytes)));
};
template <>
struct Vector<double> {
  typedef double Type __attribute__((vector_size(kVectorBytes)));
  typedef std::int64_t Mask __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vec = typename Vector<T>::Type;
template <class T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class T>
constexpr std::int64_t round_up_to_lanes(std::int64_t n) {
  return (n + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}

template <class T>
UNER3D_HD Vec<T> load(const T* from) {
  Vec<T> v;
  std::memcpy(&v, from, sizeof(v));
  return v;
}

// The first lanes of a vector, zero beyond; `left` of them exist.
template <class T>
UNER3D_HD Vec<T> load_some(const T* from, std::int64_t left) {
  if (left >= kLanes<T>) return load(from);
  T some[kLanes<T>] = {};
  for (std::int64_t i = 0; i < left; ++i) some[i] = from[i];
  return load(some);
}

template <class T>
UNER3D_HD void store(T* to, Vec<T> v) {
  std::memcpy(to, &v, sizeof(v));
}

template <class T>
UNER3D_HD void store_some(T* to, Vec<T> v, std::int64_t left) {
  if (left >= kLanes<T>) return store(to, v);
  T some[kLanes<T>];
  store(some, v);
  for (std::int64_t i = 0; i < left; ++i) to[i] = some[i];
}

template <class T>
UNER3D_HD Vec<T> broadcast(T value) {
  return Vec<T>{} + value;
}

// Lane i of the result is lane From::lane(i) of the 2 n lanes that a and b are together.
template <class T, class From, int... kLane>
UNER3D_HD Vec<T> shuffle(Vec<T> a, Vec<T> b, std::integer_sequence<int, kLane...>) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, From::lane(kLane)...);
#else
  return __builtin_shuffle(a, b, typename Vector<T>::Mask{From::lane(kLane)...});
#endif
}

template <class T, class From>
UNER3D_HD Vec<T> shuffle(Vec<T> a, Vec<T> b) {
  return shuffle<T, From>(a, b, std::make_integer_sequence<int, kLanes<T>>{});
}

template <int n, int kBy>
struct Shift {
  static constexpr int lane(int i) { return i - kBy >= 0 && i - kBy < n ? i - kBy : n + i; }
};

// Lane i of the result is lane i - kBy of v; lanes that come from outside are those of `fill`.
template <class T, int kBy>
UNER3D_HD Vec<T> shift(Vec<T> v, Vec<T> fill) {
  return shuffle<T, Shift<kLanes<T>, kBy>>(v, fill);
}

// Takes from vector k of interleaved samples the lanes that hold channel c, leaving those that other vectors hold.
template <int n, int kChannels, int c, int k>
struct PickChannel {
  static constexpr int lane(int i) { return (i * kChannels + c) / n == k ? n + (i * kChannels + c) % n : i; }
};

// Channel c of as many samples as there are lanes, of kChannels <= 4 values each, one sample after another in `flat`.
template <class T, int kChannels, int c>
UNER3D_HD Vec<T> channel(const Vec<T>* flat) {
  constexpr int n = kLanes<T>;
  if constexpr (kChannels == 1) return flat[0];
  Vec<T> out = shuffle<T, PickChannel<n, kChannels, c, 0>>(flat[0], flat[0]);
  if constexpr (kChannels > 1) out = shuffle<T, PickChannel<n, kChannels, c, 1>>(out, flat[1]);
  if constexpr (kChannels > 2) out = shuffle<T, PickChannel<n, kChannels, c, 2>>(out, flat[2]);
  if constexpr (kChannels > 3) out = shuffle<T, PickChannel<n, kChannels, c, 3>>(out, flat[3]);
  return out;
}

// Lanes below `least` become zero. Products that fade away would otherwise end as denormal numbers, which cost a
// hundred times as much wherever they go, gradients and optimisers included.
template <class T>
UNER3D_HD Vec<T> flush_below(Vec<T> v, T least) {
  return v < broadcast(least) ? Vec<T>{} : v;
}

// Lane i becomes the product of lanes 0 .. i.
template <class T>
UNER3D_HD Vec<T> prefix_product(Vec<T> v) {
  const Vec<T> one = broadcast(T(1));
  v *= shift<T, 1>(v, one);
  if constexpr (kLanes<T> > 2) v *= shift<T, 2>(v, one);
  if constexpr (kLanes<T> > 4) v *= shift<T, 4>(v, one);
  if constexpr (kLanes<T> > 8) v *= shift<T, 8>(v, one);
  return v;
}

// Lane i becomes the sum of lanes i .. last.
template <class T>
UNER3D_HD Vec<T> suffix_sum(Vec<T> v) {
  const Vec<T> zero{};
  v += shift<T, -1>(v, zero);
  if constexpr (kLanes<T> > 2) v += shift<T, -2>(v, zero);
  if constexpr (kLanes<T> > 4) v += shift<T, -4>(v, zero);
  if constexpr (kLanes<T> > 8) v += shift<T, -8>(v, zero);
  return v;
}

template <class T>
UNER3D_HD T sum_lanes(Vec<T> v) {
  return suffix_sum<T>(v)[0];
}

}  // namespace uner3d::cpu
