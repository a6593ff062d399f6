// The parts of a view's weight at a point. Those that the CPU runs over tiles of points are free of branches, so that
// the loops vectorise; whole factors follow, for back ends that take a point and a view at a time.
#pragma once

#include <cmath>

#include "camera.h"
#include "hd.h"

namespace uner3d::core {

template <class T>
UNER3D_HD T inverse_length(T x, T y, T z) {
  return T(1) / std::sqrt(x * x + y * y + z * z);
}

// Whether all four are depths: positive and finite (a sum with NaN or infinity in it has no difference of 0 from
// itself).
template <class T>
UNER3D_HD bool are_depths(T a, T b, T c, T d) {
  const T sum = T(0.25) * a + T(0.25) * b + T(0.25) * c + T(0.25) * d;
  return (a > T(0)) & (b > T(0)) & (c > T(0)) & (d > T(0)) & (sum - sum == T(0));
}

// Visibility before it is clamped to [0, 1], from the depth of the point over that of the surface: 1 at `tolerance`
// behind the surface, 0 at twice that.
template <class T>
UNER3D_HD T visibility_ramp(T depth_ratio, T inv_tolerance) {
  return T(2) - (depth_ratio - T(1)) * inv_tolerance;
}

template <class T>
UNER3D_HD T clamp_to_unit(T value) {
  const T low = value > T(0) ? value : T(0);  // 0 for NaN
  return low < T(1) ? low : T(1);
}

// max(0, cosine)^power between the ray from a camera's centre to a point and the direction given for the point.
template <class T>
struct AngleFactor {
  T ray[3], inv_length;  // unit vector from the centre to the point, 1 / its length before
  T cosine;              // not negative
  T value, slope;        // the factor and its derivative to the cosine
};

// Integer powers, the usual ones, by repeated squaring, whose error grows with the power; large ones go to pow.
template <class T>
UNER3D_HD void raise_cosine(T power, AngleFactor<T>& a) {
  if (!(power >= T(1) && power <= T(64) && power == std::floor(power))) {
    a.value = std::pow(a.cosine, power);
    a.slope = a.cosine > T(0) && power > T(0) ? power * std::pow(a.cosine, power - T(1)) : T(0);
    return;
  }
  T square = a.cosine, lower = T(1);
  for (int bits = static_cast<int>(power) - 1; bits > 0; bits >>= 1) {
    if (bits & 1) lower *= square;
    square *= square;
  }
  a.value = lower * a.cosine;
  a.slope = a.cosine > T(0) ? power * lower : T(0);
}

template <class T>
UNER3D_HD AngleFactor<T> angle_factor(const T* centre, const T* point, const T* direction, T power) {
  AngleFactor<T> a;
  const T x = point[0] - centre[0], y = point[1] - centre[1], z = point[2] - centre[2];
  a.inv_length = inverse_length(x, y, z);
  a.ray[0] = x * a.inv_length, a.ray[1] = y * a.inv_length, a.ray[2] = z * a.inv_length;
  const T cosine = a.ray[0] * direction[0] + a.ray[1] * direction[1] + a.ray[2] * direction[2];
  a.cosine = cosine > T(0) ? cosine : T(0);
  raise_cosine(power, a);
  return a;
}

// Adds the derivative, times that of the loss to the factor, to the point and to its direction (3 each).
template <class T>
UNER3D_HD void angle_backward(const AngleFactor<T>& a, const T* direction, T grad, T* grad_point, T* grad_direction) {
  const T to_cosine = grad * a.slope;
  for (int k = 0; k < 3; ++k) {
    grad_direction[k] += to_cosine * a.ray[k];
    grad_point[k] += to_cosine * a.inv_length * (direction[k] - a.cosine * a.ray[k]);
  }
}

template <class T>
struct VisibilityFactor {
  T value, z_slope, depth_slope;  // the factor and its derivatives to the point's depth and to the sampled one
};

// From the four pixels of a depth map around a point at depth z. Pixels that are no depths become a flat patch: no
// gradient comes from there, nor anything that is not a number.
template <class T>
UNER3D_HD VisibilityFactor<T> visibility_factor(T z, T& p00, T& p01, T& p10, T& p11, T ax, T ay, T inv_tolerance) {
  const bool known = are_depths(p00, p01, p10, p11);
  if (!known) p00 = p01 = p10 = p11 = T(1);
  const T depth = bilinear(p00, p01, p10, p11, ax, ay);
  const T ramp = visibility_ramp(z / depth, inv_tolerance), visible = clamp_to_unit(ramp);
  const T slope = known && visible == ramp ? inv_tolerance / depth : T(0);
  return {known ? visible : T(1), -slope, slope * z / depth};
}

}  // namespace uner3d::core
