// Positions along a Hilbert curve (Skilling, Programming the Hilbert curve, 2004), which sort queries so that
// neighbours in the order are neighbours in space; and floats as integers of the same order.
#pragma once

#include <cstdint>
#include <cstring>

#include "hd.h"

namespace uner3d::core {

constexpr int kCurveBits = 21;                                  // per axis: a position takes 63 bits
constexpr std::uint64_t kBeyondCurve = std::uint64_t(1) << 63;  // after all positions

UNER3D_HD bool is_finite3(const float* x) { return (x[0] - x[0]) + (x[1] - x[1]) + (x[2] - x[2]) == 0.0f; }

// a < b exactly where ordered_bits(a) < ordered_bits(b), except that -0 comes before 0. No finite float has 0.
UNER3D_HD std::uint32_t ordered_bits(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits ^ ((bits >> 31) != 0 ? 0xffffffffu : 0x80000000u);
}

UNER3D_HD float from_ordered_bits(std::uint32_t ordered) {
  const std::uint32_t bits = ordered ^ ((ordered >> 31) != 0 ? 0x80000000u : 0xffffffffu);
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// Two zero bits before every bit of the 21.
UNER3D_HD std::uint64_t spread_bits(std::uint64_t v) {
  v = (v | (v << 32)) & 0x001f00000000ffffULL;
  v = (v | (v << 16)) & 0x001f0000ff0000ffULL;
  v = (v | (v << 8)) & 0x100f00f00f00f00fULL;
  v = (v | (v << 4)) & 0x10c30c30c30c30c3ULL;
  return (v | (v << 2)) & 0x1249249249249249ULL;
}

// Cell (3,) of a grid with 2^21 cells a side, as its position along the curve.
UNER3D_HD std::uint64_t curve_position(std::uint32_t x, std::uint32_t y, std::uint32_t z) {
  constexpr std::uint32_t kTop = std::uint32_t(1) << (kCurveBits - 1);
  UNER3D_ROLL
  for (std::uint32_t bit = kTop; bit > 1; bit >>= 1) {  // undo the turns of the cells that hold this one
    const std::uint32_t below = bit - 1;
    if ((x & bit) != 0) x ^= below;
    std::uint32_t t = (x ^ y) & below;
    if ((y & bit) != 0) x ^= below, t = 0;
    x ^= t, y ^= t;
    t = (x ^ z) & below;
    if ((z & bit) != 0) x ^= below, t = 0;
    x ^= t, z ^= t;
  }
  y ^= x, z ^= y;
  std::uint32_t t = 0;
  UNER3D_ROLL
  for (std::uint32_t bit = kTop; bit > 1; bit >>= 1)
    if ((z & bit) != 0) t ^= bit - 1;
  x ^= t, y ^= t, z ^= t;
  return (spread_bits(x) << 2) | (spread_bits(y) << 1) | spread_bits(z);
}

// Lowest and highest coordinates of a set of points, as two rows of integers that only grow: ~ordered_bits, then
// ordered_bits. All zeros: no point yet.
constexpr int kBounds = 6;

UNER3D_HD void point_bounds(const float* x, std::uint32_t* bounds) {
  const bool finite = is_finite3(x);
  UNER3D_UNROLL
  for (int d = 0; d < 3; ++d) {
    bounds[d] = finite ? ~ordered_bits(x[d]) : 0;
    bounds[3 + d] = finite ? ordered_bits(x[d]) : 0;
  }
}

// Halved, so that no extent overflows; 0 where there is no point.
UNER3D_HD float half_extent(const std::uint32_t* bounds, int d) {
  if (bounds[3 + d] == 0) return 0.0f;
  return 0.5f * from_ordered_bits(bounds[3 + d]) - 0.5f * from_ordered_bits(~bounds[d]);
}

// Position of a point of the set with these bounds; kBeyondCurve where it is not finite.
UNER3D_HD std::uint64_t curve_position(const float* x, const std::uint32_t* bounds) {
  if (!is_finite3(x)) return kBeyondCurve;
  constexpr double kLast = (1 << kCurveBits) - 1;
  double side = 0;
  UNER3D_UNROLL
  for (int d = 0; d < 3; ++d) side = half_extent(bounds, d) > side ? half_extent(bounds, d) : side;
  std::uint32_t cell[3];
  UNER3D_UNROLL
  for (int d = 0; d < 3; ++d) {
    const double low = from_ordered_bits(~bounds[d]);
    const double at = side > 0 ? (static_cast<double>(x[d]) - low) * (0.5 * kLast / side) : 0.0;
    cell[d] = static_cast<std::uint32_t>(at < kLast ? at : kLast);
  }
  return curve_position(cell[0], cell[1], cell[2]);
}

}  // namespace uner3d::core
