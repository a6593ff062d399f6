// The factors of a view's weight at a point and their derivatives. Free of branches, so that loops over them vectorise.
#pragma once

#include <cmath>

#include "hd.h"

namespace uner3d::core {

// Direction from a camera's centre to a point at (x, y, z) from it, and one over the distance.
template <class T>
struct Ray {
  T x, y, z, inv_length;
};

template <class T>
UNER3D_HD Ray<T> ray_to(T x, T y, T z) {
  const T inv_length = T(1) / std::sqrt(x * x + y * y + z * z);
  return {x * inv_length, y * inv_length, z * inv_length, inv_length};
}

// max(0, cosine) between that ray and a target direction.
template <class T>
UNER3D_HD T ray_cosine(const Ray<T>& ray, T x, T y, T z) {
  const T cosine = ray.x * x + ray.y * y + ray.z * z;
  return cosine > T(0) ? cosine : T(0);
}

// Small integer powers by repeated squaring: no call, no logarithm.
template <class T>
UNER3D_HD T integer_power(T x, int power) {
  T result = T(1);
  for (; power > 0; power >>= 1) {
    if (power & 1) result *= x;
    x *= x;
  }
  return result;
}

constexpr int kMaxIntegerPower = 64;

// The exponent as an integer where integer_power applies, else -1.
template <class T>
UNER3D_HD int as_integer_power(T power) {
  return power >= T(0) && power <= T(kMaxIntegerPower) && power == static_cast<T>(static_cast<int>(power))
             ? static_cast<int>(power)
             : -1;
}

template <class T>
UNER3D_HD T power_of(T x, T power, int integer) {
  return integer >= 0 ? integer_power(x, integer) : std::pow(x, power);
}

// A depth that can be trusted: finite and in front of the camera.
template <class T>
UNER3D_HD bool is_depth(T depth) {
  return (depth > T(0)) & (depth - depth == T(0));
}

// 1 up to `tolerance` (relative) behind the surface at `depth`, falling to 0 at twice that.
template <class T>
UNER3D_HD T visibility(T z, T depth, T inv_tolerance) {
  const T v = T(2) - (z / depth - T(1)) * inv_tolerance;
  return v < T(0) ? T(0) : (v > T(1) ? T(1) : v);
}

// Derivative of visibility to z and to the depth; zero where it is clamped.
template <class T>
UNER3D_HD void visibility_backward(T z, T depth, T inv_tolerance, T grad, T& grad_z, T& grad_depth) {
  const T v = T(2) - (z / depth - T(1)) * inv_tolerance;
  const T slope = (v > T(0)) & (v < T(1)) ? grad * inv_tolerance / depth : T(0);
  grad_z = -slope;
  grad_depth = slope * z / depth;
}

}  // namespace uner3d::core
