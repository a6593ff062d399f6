// Distances of a query to points and boxes, and the order in which neighbours are ranked.
// No a * b + c is contracted into one rounding, so that all instruction sets, CUDA and the plain-torch twin find the
// same bits: translation units of the CPU that include this file are compiled so, device code says so below.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>

#include "hd.h"
#include "limits.h"

namespace uner3d::core {

constexpr int kWidth = 16;     // points in a leaf, children of a group
constexpr int kMaxLevels = 8;  // 16^8 = 2^32 exceeds the int32 indices

// Sum of squared differences, never the expanded form: at coordinates of 1e6 the expanded one keeps no digit.
template <class T>
UNER3D_HD T distance2(T dx, T dy, T dz) {
#if defined(__CUDA_ARCH__)
  static_assert(sizeof(T) == 4, "device code searches in single precision");
  return __fadd_rn(__fadd_rn(__fmul_rn(dx, dx), __fmul_rn(dy, dy)), __fmul_rn(dz, dz));
#else
  return (dx * dx + dy * dy) + dz * dz;
#endif
}

// How far `q` lies outside [low, high] along one axis.
template <class T>
UNER3D_HD T outside(T q, T low, T high) {
  const T below = low - q, above = q - high;
  const T most = below > above ? below : above;
  return most > T(0) ? most : T(0);
}

// Rounding is monotonic and both sides use the same operations in the same order, so the computed distance to a box
// never exceeds the computed distance to a point in it: pruning needs no tolerance.
template <class T>
UNER3D_HD T box_distance2(const T* q, T x0, T y0, T z0, T x1, T y1, T z1) {
  return distance2(outside(q[0], x0, x1), outside(q[1], y0, y1), outside(q[2], z0, z1));
}

// A neighbour as one integer, squared distance above index: comparing integers ranks by distance, then lower index.
// The bits of non-negative floats are ordered like the floats.
template <class T>
struct Rank;

template <>
struct Rank<float> {
  using Key = std::int64_t;
  using Bits = std::int32_t;
};

template <>
struct Rank<double> {
  __extension__ using Key = __int128;
  using Bits = std::int64_t;
};

template <class T>
using Key = typename Rank<T>::Key;

template <class T>
UNER3D_HD Key<T> make_key(T dist2, std::int32_t index) {
  typename Rank<T>::Bits bits;
  std::memcpy(&bits, &dist2, sizeof(T));
  return (static_cast<Key<T>>(bits) << (8 * sizeof(T))) | static_cast<Key<T>>(index);
}

template <class T>
UNER3D_HD T key_dist2(Key<T> key) {
  const auto bits = static_cast<typename Rank<T>::Bits>(key >> (8 * sizeof(T)));
  T dist2;
  std::memcpy(&dist2, &bits, sizeof(T));
  return dist2;
}

template <class T>
UNER3D_HD std::int32_t key_index(Key<T> key) {
  return static_cast<std::int32_t>(key & 0x7fffffff);
}

constexpr std::int32_t kNoIndex = std::numeric_limits<std::int32_t>::max();

// The rank no neighbour reaches: everything within `limit2` is below it. Squares that overflow are not neighbours.
template <class T>
UNER3D_HD Key<T> limit_key(T limit2) {
  const T most = kLargest<T>;
  return make_key<T>(limit2 < most ? limit2 : most, kNoIndex);
}

}  // namespace uner3d::core
