// Positional encoding: the sines and cosines of one coordinate at one octave, and their derivative.
// NeRF (Mildenhall et al. 2020, eq. 4); per-octave weights as in BARF (Lin et al. 2021, eq. 14).
#pragma once

#include <cmath>

#include "hd.h"

namespace uner3d::core {

constexpr double kPi = 3.14159265358979323846;

// Nearest integer, ties to even, for any finite x; plain arithmetic, so that loops over it vectorise on every target.
UNER3D_HD float round_even(float x) {
  const float magic = 8388608.0f;  // 2^23: from here on every float is an integer
  const float a = std::fabs(x);
  const float r = (a + magic) - magic;
  return std::copysign(a < magic ? r : a, x);
}

UNER3D_HD double round_even(double x) {
  const double magic = 4503599627370496.0;  // 2^52
  const double a = std::fabs(x);
  const double r = (a + magic) - magic;
  return std::copysign(a < magic ? r : a, x);
}

// sin(pi r), cos(pi r) for |r| <= 1/4 by their Taylor series in (pi r)^2; the first dropped terms are below the scalar's rounding.
template <class T>
UNER3D_HD void sincospi_quarter(T r, T& s, T& c) {
  const T z = static_cast<T>(kPi) * r;
  const T z2 = z * z;
  if constexpr (sizeof(T) == 4) {
    s = z + z * z2 * (T(-1.0 / 6) + z2 * (T(1.0 / 120) + z2 * (T(-1.0 / 5040) + z2 * T(1.0 / 362880))));
    c = T(1) + z2 * (T(-0.5) + z2 * (T(1.0 / 24) + z2 * (T(-1.0 / 720) + z2 * T(1.0 / 40320))));
  } else {
    T ps = T(1), pc = T(1);
    for (int i = 10; i >= 1; --i) {
      ps = T(1) - z2 * ps / T((2 * i) * (2 * i + 1));
      pc = T(1) - z2 * pc / T((2 * i - 1) * (2 * i));
    }
    s = z * ps;
    c = pc;
  }
}

// sin(pi y), cos(pi y). The reduction to a quarter turn is exact: y - 2 round(y / 2) and the quadrant are exact in
// floating point, so the error stays at that of the polynomial however large y is.
template <class T>
UNER3D_HD void sincospi(T y, T& s, T& c) {
  const T turn = y - T(2) * round_even(T(0.5) * y);  // [-1, 1]
  const T q = round_even(T(2) * turn);               // -2 .. 2
  T sr, cr;
  sincospi_quarter(turn - T(0.5) * q, sr, cr);
  const bool swap = (q == T(1)) | (q == T(-1));
  const T s0 = swap ? cr : sr;
  const T c0 = swap ? sr : cr;
  s = ((q == T(-1)) | (q == T(2)) | (q == T(-2))) ? -s0 : s0;
  c = ((q == T(1)) | (q == T(2)) | (q == T(-2))) ? -c0 : c0;
}

// Weight of octave l while the encoding opens from `window` = 0 (input only) to n_octaves (all).
template <class T>
UNER3D_HD T octave_weight(T window, int octave) {
  T a = window - static_cast<T>(octave);
  a = a < T(0) ? T(0) : (a > T(1) ? T(1) : a);
  T s, c;
  sincospi(a, s, c);
  return T(0.5) * (T(1) - c);
}

}  // namespace uner3d::core
