// Volume rendering of one sample: how much light it absorbs, its weight, and the derivative of the loss with respect to
// its optical thickness tau = sigma * length. Max 1995, "Optical models for direct volume rendering"; NeRF (Mildenhall
// et al. 2020, eq. 3).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "hd.h"

namespace uner3d::core {

// Transmittance below which nothing behind can be seen: it counts as zero.
constexpr double kOpaque = 1e-15;

template <class T>
UNER3D_HD T flush_opaque(T transmittance) {
  return transmittance < T(kOpaque) ? T(0) : transmittance;
}

// alpha = 1 - exp(-tau) and through = exp(-tau), each to a few units in the last place: alpha does not cancel where tau
// is small, through does not where tau is large. Both come from one polynomial p = exp(r) - 1 with -tau = n ln 2 + r,
// |r| <= ln(2) / 2, since exp(-tau) - 1 = (2^n - 1) + 2^n p. From 2^-127 on through is 0. Plain arithmetic without
// branches: V may be a vector of floats, and Bits one of as many integers.
template <class Bits, class V>
UNER3D_HD void attenuate_single(V tau, V& alpha, V& through) {
  const V limit = V{} + 88.0f;  // keeps n in [-127, 127]
  V x = -tau;
  x = x < -limit ? -limit : x;
  x = x > limit ? limit : x;
  const V shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23 leaves the nearest integer in the low bits
  const V n = shifted - 12582912.0f;
  const V r = (x - n * 0.693359375f) - n * -2.12194440e-4f;  // ln 2 in two parts, the first exact in a few bits
  const V r2 = r * r;                                        // powers of r^2, so that products wait for few others
  const V p = r + r2 * ((0.5f + r * (1.0f / 6)) +
                        r2 * ((1.0f / 24 + r * (1.0f / 120)) + r2 * (1.0f / 720 + r * (1.0f / 5040))));
  Bits bits;
  std::memcpy(&bits, &shifted, sizeof(bits));
  bits = (bits + 127) << 23;  // of 2^n; the bits above those of n fall off
  V power;
  std::memcpy(&power, &bits, sizeof(power));
  alpha = (1.0f - power) - power * p;
  through = power + power * p;
}

UNER3D_HD void attenuate(float tau, float& alpha, float& through) {
  attenuate_single<std::uint32_t>(tau, alpha, through);
}

UNER3D_HD void attenuate(double tau, double& alpha, double& through) {
  alpha = -std::expm1(-tau);
  through = std::exp(-tau);
}

// d loss / d tau_i = g_i T_{i+1} - sum_{j > i} g_j w_j, where g_j = d loss / d w_j: thicker, sample i gains what still
// passed it and takes it from all behind. Nothing is divided by 1 - alpha, so opaque samples are no special case.
template <class T>
UNER3D_HD T grad_tau(T grad_weight, T transmittance_after, T sum_behind) {
  return grad_weight * transmittance_after - sum_behind;
}

}  // namespace uner3d::core
