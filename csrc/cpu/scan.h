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
  typedef std::uint32_t Bits __attribute__((vector_size(kVectorBytes)));
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

// The first `left` lanes of a vector, zero beyond; all where kWhole says so at compile time, none where left < 0.
template <bool kWhole, class T>
UNER3D_HD Vec<T> load_some(const T* from, std::int64_t left) {
  if (kWhole || left >= kLanes<T>) return load(from);
  T some[kLanes<T>];
  for (int i = 0; i < kLanes<T>; ++i) some[i] = i < left ? from[i] : T(0);
  return load(some);
}

template <class T>
UNER3D_HD void store(T* to, Vec<T> v) {
  std::memcpy(to, &v, sizeof(v));
}

template <bool kWhole, class T>
UNER3D_HD void store_some(T* to, Vec<T> v, std::int64_t left) {
  if (kWhole || left >= kLanes<T>) return store(to, v);
  T some[kLanes<T>];
  store(some, v);
  for (int i = 0; i < kLanes<T>; ++i)
    if (i < left) to[i] = some[i];
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
  static constexpr int lane(int i) { return i - kBy < 0 ? 2 * n + i - kBy : i - kBy; }
};

// Lane i of the result is lane i - kBy of v; lanes that come from before the first are the last ones of `fill`, those
// from behind the last its first ones.
template <class T, int kBy>
UNER3D_HD Vec<T> shift(Vec<T> v, Vec<T> fill) {
  return shuffle<T, Shift<kLanes<T>, kBy>>(v, fill);
}

// Takes from vectors k and k + 1 of interleaved samples the lanes that hold channel c; where k > 0, from vector k + 1
// alone, leaving those found before.
template <int n, int kChannels, int c, int k>
struct PickChannel {
  static constexpr int lane(int i) {
    const int at = i * kChannels + c;
    return k == 0 ? (at < 2 * n ? at : 0) : (at / n == k + 1 ? n + at % n : i);
  }
};

// Channel c of as many samples as there are lanes, of kChannels <= 4 values each, one sample after another in `flat`.
template <class T, int kChannels, int c>
UNER3D_HD Vec<T> channel(const Vec<T>* flat) {
  constexpr int n = kLanes<T>;
  if constexpr (kChannels == 1) return flat[0];
  Vec<T> out = shuffle<T, PickChannel<n, kChannels, c, 0>>(flat[0], flat[1 % kChannels]);
  if constexpr (kChannels > 2) out = shuffle<T, PickChannel<n, kChannels, c, 1>>(out, flat[2 % kChannels]);
  if constexpr (kChannels > 3) out = shuffle<T, PickChannel<n, kChannels, c, 2>>(out, flat[3 % kChannels]);
  return out;
}

// Vector k of a and b interleaved, a first.
template <int n, int k>
struct Interleave {
  static constexpr int lane(int i) { return (k * n + i) / 2 + (i % 2) * n; }
};

template <class T, int k>
UNER3D_HD Vec<T> interleave(Vec<T> a, Vec<T> b) {
  return shuffle<T, Interleave<kLanes<T>, k>>(a, b);
}

// Vector k of the values of as many samples as there are lanes, each repeated for all channels.
template <int n, int kChannels, int k>
struct RepeatSample {
  static constexpr int lane(int i) { return (k * n + i) / kChannels; }
};

template <class T, int kChannels, int k>
UNER3D_HD Vec<T> repeat(Vec<T> values) {
  return shuffle<T, RepeatSample<kLanes<T>, kChannels, k>>(values, values);
}

// Lanes below `least` become zero. Products that fade away would otherwise end as denormal numbers, which cost a
// hundred times as much wherever they go, gradients and optimisers included.
template <class T>
UNER3D_HD Vec<T> flush_below(Vec<T> v, T least) {
  return v < broadcast(least) ? Vec<T>{} : v;
}

template <int kFrom>
struct OneLane {
  static constexpr int lane(int) { return kFrom; }
};

// The first lane in all lanes.
template <class T>
UNER3D_HD Vec<T> first_lane(Vec<T> v) {
  return shuffle<T, OneLane<0>>(v, v);
}

// The last lane in all lanes.
template <class T>
UNER3D_HD Vec<T> last_lane(Vec<T> v) {
  return shuffle<T, OneLane<kLanes<T> - 1>>(v, v);
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

// Picks the first (kHalf 0) or the second half of each of the parts that a and b are made of, those of a first.
template <int n, int kParts, int kHalf>
struct PickHalf {
  static constexpr int kLength = n / kParts / 2;
  static constexpr int lane(int i) { return i / kLength * (2 * kLength) + kHalf * kLength + i % kLength; }
};

// Adds the halves of each part: from two vectors of kParts sums, one of 2 kParts with half as many terms left in each.
template <class T, int kParts>
UNER3D_HD Vec<T> fold(Vec<T> a, Vec<T> b) {
  constexpr int n = kLanes<T>;
  return shuffle<T, PickHalf<n, kParts, 0>>(a, b) + shuffle<T, PickHalf<n, kParts, 1>>(a, b);
}

// The sums over the lanes of four vectors: a third of the work of four sums.
template <class T>
UNER3D_HD void sum_lanes(const Vec<T>* v, T* sums) {
  constexpr int n = kLanes<T>;
  if constexpr (n < 4) {
    for (int i = 0; i < 4; ++i) sums[i] = sum_lanes<T>(v[i]);
  } else {
    Vec<T> all = fold<T, 2>(fold<T, 1>(v[0], v[1]), fold<T, 1>(v[2], v[3]));
    if constexpr (n >= 8) all += shift<T, -n / 8>(all, all);
    if constexpr (n >= 16) all += shift<T, -n / 16>(all, all);
    for (int i = 0; i < 4; ++i) sums[i] = all[i * (n / 4)];
  }
}

}  // namespace uner3d::cpu
