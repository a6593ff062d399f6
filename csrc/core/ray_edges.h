// Importance sampling of one ray by a grid of densities that lags behind the field: the share of samples that a step of
// the ray is worth, and where a quantile of those shares lies.
#pragma once

#include <cstdint>

#include "hd.h"

namespace uner3d::core {

constexpr double kSoftening = 0.2;       // the grid holds densities of the recent past: what it hides may be in sight
constexpr double kOccupiedDepth = 0.05;  // optical depth of a step from which on it is worth a sample
constexpr double kBlockedDepth = 5.0;    // softened optical depth behind which nothing can be seen
constexpr double kLeastShare = 1e-4;     // of steps whose density is not zero
constexpr double kLeastSum = 1e-8;       // sums below it count as this when they divide

template <class T>
UNER3D_HD T divisor(T sum) {
  return sum > T(kLeastSum) ? sum : T(kLeastSum);
}

template <class T>
UNER3D_HD bool is_occupied(T depth, T before) {
  return depth > T(kOccupiedDepth) && before < T(kBlockedDepth);
}

// The greatest of a step and its neighbours: the grid is coarser than the surface, and it lags behind the field.
template <class T>
UNER3D_HD T dilated(T left, T middle, T right) {
  const T sides = left > right ? left : right;
  return sides > middle ? sides : middle;
}

// A sample's place among n_samples + 1 even ones, moved within half a distance either way by jitter in [0, 1).
template <class T>
UNER3D_HD T jittered(std::int64_t k, T jitter, std::int64_t n_samples) {
  const T u = T(k) / T(n_samples) + (jitter - T(0.5)) / T(n_samples);
  return u < T(0) ? T(0) : u > T(1) ? T(1) : u;
}

// Where u lies between the knots low_t and high_t, at which the cdf is low and high.
template <class T>
UNER3D_HD T quantile(T u, T low, T high, T low_t, T high_t) {
  T fraction = (u - low) / divisor(high - low);
  fraction = fraction < T(0) ? T(0) : fraction > T(1) ? T(1) : fraction;
  return low_t + (high_t - low_t) * fraction;
}

}  // namespace uner3d::core
