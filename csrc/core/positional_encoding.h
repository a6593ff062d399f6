// Positional encoding: the sines and cosines of one coordinate at one octave, and their derivative.
// NeRF (Mildenhall et al. 2020, eq. 4); per-octave weights as in BARF (Lin et al. 2021, eq. 14).
//
// Angles are counted in half turns: the angle of x at octave l is 2^l x. Every step of the range reduction below is
// exact in floating point, so the error is that of the polynomials and one rounding, however large x or l is.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "hd.h"

namespace uner3d::core {

constexpr double kPi = 3.14159265358979323846;

// Nearest integer, ties to even, for any x; plain arithmetic, so that loops over it vectorise on every target.
template <class T>
UNER3D_HD T round_even(T x) {
  const T magic = sizeof(T) == 4 ? T(8388608.0) : T(4503599627370496.0);  // 2^23, 2^52: from here on all are integers
  const T a = std::fabs(x);
  const T r = (a + magic) - magic;
  return std::copysign(a < magic ? r : a, x);
}

// 1.5 * 2^23 or 2^52: added to a small number it leaves the nearest integer, ties to even, in the low mantissa bits.
template <class T>
UNER3D_HD constexpr T integer_magic() {
  return sizeof(T) == 4 ? T(12582912.0) : T(6755399441055744.0);
}

template <class To, class From>
UNER3D_HD To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From), "only the type changes");
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

// The angle x (half turns) brought to [-1, 1]. NaN for non-finite x.
template <class T>
UNER3D_HD T reduce_turn(T x) {
  return x - T(2) * round_even(T(0.5) * x);
}

// The angle of the octave after the next, 4 turn, brought to [-1, 1]; |turn| <= 1.
template <class T>
UNER3D_HD T skip_octave(T turn) {
  const T twice = T(2) * turn;
  const T nearest = (twice + integer_magic<T>()) - integer_magic<T>();
  return T(2) * (twice - nearest);
}

// sin(pi r), cos(pi r) for |r| <= 1/4. Minimax polynomials in r^2 by Remez exchange in 60-digit arithmetic: of
// sin(pi r) / r with relative weight, and of (cos(pi r) - 1) / r^2 with weight r^2 (so that cos 0 = 1). Their own
// errors are 3.2e-9 and 5.4e-11 in single, 3.3e-18 and 3.3e-20 in double precision, below the rounding of the scalar.
UNER3D_HD void sincospi_quarter(float r, float& s, float& c) {
  const float z = r * r;
  s = r * (3.14159264343f + z * (-5.16770768187f + z * (2.54976104861f + z * -0.58901220979f)));
  c = 1.0f + z * (-4.93480217341f + z * (4.05870790448f + z * (-1.33505846457f + z * 0.231429548004f)));
}

UNER3D_HD void sincospi_quarter(double r, double& s, double& c) {
  const double z = r * r;
  double p = 0.00046151442537776644291;
  p = -0.0073700183131178617275 + z * p;
  p = 0.082145868949325705822 + z * p;
  p = -0.59926452893214950924 + z * p;
  p = 2.5501640398732659299 + z * p;
  p = -5.167712780049953933 + z * p;
  s = r * (3.1415926535897932281 + z * p);
  p = -0.00010357788544644239127;
  p = 0.0019294681732788721074 + z * p;
  p = -0.025806885879320795753 + z * p;
  p = 0.23533063020160789052 + z * p;
  p = -1.3352627688521883056 + z * p;
  p = 4.0587121264167508376 + z * p;
  c = 1.0 + z * (-4.9348022005446792669 + z * p);
}

// sin(pi turn), cos(pi turn) for |turn| <= 1: the nearest quarter is split off, and says which of the two is which and
// with what sign.
template <class T>
UNER3D_HD void sincospi_turn(T turn, T& s, T& c) {
  using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  constexpr int kToSign = 8 * sizeof(T) - 2;
  const T shifted = T(2) * turn + integer_magic<T>();
  const T quarter = shifted - integer_magic<T>();  // -2 .. 2
  const Bits q = bits_as<Bits>(shifted);           // the same modulo 4, in its two lowest bits
  T sr, cr;
  sincospi_quarter(turn - T(0.5) * quarter, sr, cr);
  const bool swap = (q & 1) != 0;
  s = bits_as<T>(bits_as<Bits>(swap ? cr : sr) ^ ((q & 2) << kToSign));
  c = bits_as<T>(bits_as<Bits>(swap ? sr : cr) ^ (((q + 1) & 2) << kToSign));
}

// sin 2a, cos 2a from sin a, cos a: every second octave costs three products. Errors about double, to 2.1e-7 in single
// precision, which is why a third octave is not made from the second.
template <class T>
UNER3D_HD void double_angle(T s, T c, T& s2, T& c2) {  // s2, c2 may be s, c themselves
  s2 = T(2) * s * c;
  c2 = (c - s) * (c + s);
}

// sin(pi y), cos(pi y) for any y.
template <class T>
UNER3D_HD void sincospi(T y, T& s, T& c) {
  sincospi_turn(reduce_turn(y), s, c);
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

// d/dx of (w sin(2^l pi x), w cos(2^l pi x)) applied to the gradient of both; `rate` is 2^l pi w.
template <class T>
UNER3D_HD T encoding_gradient(T rate, T sine, T cosine, T grad_sine, T grad_cosine) {
  return rate * (grad_sine * cosine - grad_cosine * sine);
}

template <class T>
UNER3D_HD T octave_rate(T weight, int octave) {
  return static_cast<T>(kPi) * static_cast<T>(std::int64_t(1) << octave) * weight;
}

}  // namespace uner3d::core
