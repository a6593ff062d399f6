// Inverse-distance weights w = weight / (d^power + eps) (Shepard 1968) and their derivative, in a form that neither
// overflows nor underflows: all lengths are divided by s = max(nearest distance, eps^(1/power)), a factor that
// cancels in sum(w v) / sum(w).
#pragma once

#include <cmath>

#include "hd.h"
#include "limits.h"

namespace uner3d::core {

// x^(power / 2) for a squared length x.
template <class T>
UNER3D_HD T half_power(T x, T power) {
  if (power == T(2)) return x;
  if (power == T(1)) return std::sqrt(x);
  if (power == T(4)) return x * x;
  return std::pow(x, T(0.5) * power);
}

// Square of the softening length eps^(1/power) where eps is left to us: half the local spacing, which is the distance
// of the farthest of the n neighbours over sqrt(n) (n points on a surface share a disc of that radius).
template <class T>
UNER3D_HD T default_softening2(T farthest2, int n) {
  return T(0.25) * farthest2 / static_cast<T>(n);
}

template <class T>
struct IdwScale {
  T power;
  T inverse2;       // 1 / s^2
  T softening;      // eps / s^power
  bool coincident;  // s = 0: the points at the query take it all
};

template <class T>
UNER3D_HD IdwScale<T> idw_scale(T nearest2, T softening2, T power) {
  const T s2 = nearest2 > softening2 ? nearest2 : softening2;
  if (s2 < kSmallestNormal<T>) return {power, T(0), T(0), true};
  return {power, T(1) / s2, half_power(softening2 / s2, power), false};
}

// (d^power + eps) / s^power. Where the query lies on points that take it all: 1 for them, 0 (meaning none) elsewhere.
template <class T>
UNER3D_HD T idw_denominator(const IdwScale<T>& scale, T dist2) {
  if (scale.coincident) return dist2 < kSmallestNormal<T> ? T(1) : T(0);
  return half_power(dist2 * scale.inverse2, scale.power) + scale.softening;
}

template <class T>
UNER3D_HD T idw_inverse(T denominator) {
  return denominator > T(0) ? T(1) / denominator : T(0);
}

// Derivative of 1 / denominator by the query, divided by (query - point). Zero on a point.
template <class T>
UNER3D_HD T idw_inverse_slope(const IdwScale<T>& scale, T dist2, T inverse) {
  const T x = dist2 * scale.inverse2;
  if (scale.coincident || !(x > T(0)) || !(inverse > T(0))) return T(0);
  const T power = half_power(x, scale.power);
  if (!(power <= kLargest<T>)) return T(0);
  return -scale.power * (power / x) * inverse * inverse * scale.inverse2;
}

}  // namespace uner3d::core
