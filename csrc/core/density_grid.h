// A cubic grid of densities over a box [-extent, extent]: the cell of a point, the contraction of what lies beyond a
// box, and how a cell follows the densities that samples of it have.
#pragma once

#include <cmath>

#include "hd.h"

namespace uner3d::core {

// Which of n cells a coordinate lies in, as a number without a fraction only once it is truncated; outside the box, and
// for NaN, the nearest cell or the first. Clamped before it is converted, so that no conversion can overflow.
template <class T>
UNER3D_HD T cell_along(T x, T extent, T n) {
  T at = (x / extent + T(1)) * (n * T(0.5));
  at = at > T(0) ? at : T(0);
  return at < n - T(1) ? at : n - T(1);
}

// The factor of a point that contracts all space to (-2, 2)^3 and leaves the unit box as it is: mip-NeRF 360 (Barron et
// al. 2022, eq. 10) with the maximum norm.
template <class T>
UNER3D_HD T contraction(T x, T y, T z) {
  const T ax = std::fabs(x), ay = std::fabs(y), az = std::fabs(z);
  T norm = ax > ay ? ax : ay;
  norm = norm > az ? norm : az;
  norm = norm > T(1) ? norm : T(1);
  return (T(2) - T(1) / norm) / norm;
}

// The larger of two densities; NaN where either is, so that a broken field is not passed over in silence.
template <class T>
UNER3D_HD T larger_density(T a, T b) {
  return b > a || b != b ? b : a;
}

// A cell rises to the largest density seen at once and decays towards a smaller one; below 0 none was seen.
template <class T>
UNER3D_HD T followed_density(T old, T seen, T rate) {
  return seen < T(0) ? old : larger_density(old + rate * (seen - old), seen);
}

}  // namespace uner3d::core
