// The parts of a view's weight at a point. Free of branches, so that loops over them vectorise.
#pragma once

#include <cmath>

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

}  // namespace uner3d::core
