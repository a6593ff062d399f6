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

// 2^n for integer n in [-127, 127]; n = -127 gives 0, which is where exp(-tau) is flushed.
UNER3D_HD float exp2_integer(float n) {
  const std::int32_t bits = (static_cast<std::int32_t>(n) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof(power));
  return power;
}

// alpha = 1 - exp(-tau) and through = exp(-tau), each to a few units in the last place: alpha does not cancel where tau
// is small, through does not where tau is large. Both come from one polynomial p = exp(r) - 1 with -tau = n ln 2 + r,
// |r| <= ln(2) / 2, since exp(-tau) - 1 = (2^n - 1) + 2^n p. Below 2^-127 through is 0. Plain arithmetic without
// branches, so that loops over it vectorise.
UNER3D_HD void attenuate(float tau, float& alpha, float& through) {
  const float limit = 88.0f;  // keeps n in [-127, 127]
  float x = -tau;
  x = x < -limit ? -limit : x;
  x = x > limit ? limit : x;
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding and subtracting it rounds to the nearest integer
  const float n = (x * 1.44269504f + magic) - magic;
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;  // ln 2 in two parts, the first exact in a few bits
  const float p =
      r + r * r * (0.5f + r * (1.0f / 6 + r * (1.0f / 24 + r * (1.0f / 120 + r * (1.0f / 720 + r * (1.0f / 5040))))));
  const float power = exp2_integer(n);
  alpha = (1.0f - power) - power * p;
  through = power + power * p;
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
