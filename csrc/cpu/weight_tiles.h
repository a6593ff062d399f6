// The factors of the weights of a tile of points in one view, and their derivatives: a loop over the tile per factor,
// so that each vectorises.
#pragma once

#include <cmath>

#include "../core/view_weights.h"
#include "view_tiles.h"

namespace uner3d::cpu {

template <class T>
struct WeightTile {
  T ray_x[kTile], ray_y[kTile], ray_z[kTile], inv_length[kTile], cosine[kTile];  // only with directions
  TileCorners<T> mask_corners, depth_corners;                                    // only with masks, with depths
  T angle[kTile], mask[kTile], visibility[kTile];                                // 1 where absent
  T angle_slope[kTile];                                                          // to the cosine
  T z_slope[kTile], depth_slope[kTile];                                          // of the visibility
};

// angle = cosine^power and its derivative. Integer powers, the usual ones, by repeated squaring, whose error grows with
// the power; large ones go to pow.
template <class T>
void raise_cosines(T power, WeightTile<T>& w) {
  const bool is_integer = power >= T(1) && power <= T(64) && power == std::floor(power);
  if (!is_integer) {
    for (int p = 0; p < kTile; ++p) {
      const bool lit = w.cosine[p] > T(0);
      w.angle[p] = std::pow(w.cosine[p], power);
      w.angle_slope[p] = lit && power > T(0) ? power * std::pow(w.cosine[p], power - T(1)) : T(0);
    }
    return;
  }
  T square[kTile], lower[kTile];
  for (int p = 0; p < kTile; ++p) square[p] = w.cosine[p], lower[p] = T(1);
  for (int bits = static_cast<int>(power) - 1; bits > 0; bits >>= 1) {
    if (bits & 1)
      for (int p = 0; p < kTile; ++p) lower[p] *= square[p];
    for (int p = 0; p < kTile; ++p) square[p] *= square[p];
  }
#pragma omp simd
  for (int p = 0; p < kTile; ++p) {
    w.angle[p] = lower[p] * w.cosine[p];
    w.angle_slope[p] = w.cosine[p] > T(0) ? power * lower[p] : T(0);
  }
}

template <class T>
void weigh_angles(const core::Camera<T>& camera, const PointTile<T>& tile, const PointTile<T>& directions, T power,
                  WeightTile<T>& w) {
  const T cx = camera.centre[0], cy = camera.centre[1], cz = camera.centre[2];
#pragma omp simd
  for (int p = 0; p < kTile; ++p) {
    const T x = tile.x[p] - cx, y = tile.y[p] - cy, z = tile.z[p] - cz;
    const T inv_length = core::inverse_length(x, y, z);
    w.ray_x[p] = x * inv_length, w.ray_y[p] = y * inv_length, w.ray_z[p] = z * inv_length;
    w.inv_length[p] = inv_length;
    const T cosine = w.ray_x[p] * directions.x[p] + w.ray_y[p] * directions.y[p] + w.ray_z[p] * directions.z[p];
    w.cosine[p] = cosine > T(0) ? cosine : T(0);
  }
  raise_cosines(power, w);
}

template <class T>
void weigh_masks(const TileView<T>& at, WeightTile<T>& w) {
  const TileCorners<T>& c = w.mask_corners;
#pragma omp simd
  for (int p = 0; p < kTile; ++p)
    w.mask[p] = core::bilinear(c.p00[p], c.p01[p], c.p10[p], c.p11[p], at.ax[p], at.ay[p]);
}

template <class T>
void weigh_depths(const TileView<T>& at, T inv_tolerance, WeightTile<T>& w) {
  TileCorners<T>& c = w.depth_corners;
  T unknown[kTile];
#pragma omp simd
  for (int p = 0; p < kTile; ++p) unknown[p] = core::are_depths(c.p00[p], c.p01[p], c.p10[p], c.p11[p]) ? T(0) : T(1);
#pragma omp simd
  for (int p = 0; p < kTile; ++p) {  // a flat patch for those unknown: no gradient, nothing that is not a number
    c.p00[p] = unknown[p] > T(0) ? T(1) : c.p00[p];
    c.p01[p] = unknown[p] > T(0) ? T(1) : c.p01[p];
    c.p10[p] = unknown[p] > T(0) ? T(1) : c.p10[p];
    c.p11[p] = unknown[p] > T(0) ? T(1) : c.p11[p];
  }
#pragma omp simd
  for (int p = 0; p < kTile; ++p) {
    const T depth = core::bilinear(c.p00[p], c.p01[p], c.p10[p], c.p11[p], at.ax[p], at.ay[p]);
    const T ramp = core::visibility_ramp(at.z[p], depth, inv_tolerance);
    const T visible = core::clamp_to_unit(ramp);
    const T slope = visible == ramp ? (T(1) - unknown[p]) * inv_tolerance / depth : T(0);
    w.visibility[p] = visible > unknown[p] ? visible : unknown[p];
    w.z_slope[p] = -slope;
    w.depth_slope[p] = slope * at.z[p] / depth;
  }
}

// All factors of a tile in view number `view`; `directions` is only read where args.directions is given.
template <class Args, class T>
void weigh(const Args& a, const core::Camera<T>& camera, std::int64_t view, const PointTile<T>& tile,
           const PointTile<T>& directions, const TileView<T>& at, WeightTile<T>& w) {
  const std::int64_t map = view * a.views.height * a.views.width;
  const std::int32_t width = static_cast<std::int32_t>(a.views.width);
  std::fill(w.angle, w.angle + kTile, T(1));
  std::fill(w.mask, w.mask + kTile, T(1));
  std::fill(w.visibility, w.visibility + kTile, T(1));
  if (a.directions) weigh_angles(camera, tile, directions, a.angle_power, w);
  if (a.masks) gather(a.masks + map, width, at, w.mask_corners), weigh_masks(at, w);
  if (a.depths) gather(a.depths + map, width, at, w.depth_corners), weigh_depths(at, T(1) / a.depth_tolerance, w);
}

template <class T>
bool any_seen(const PointTile<T>& tile, const TileView<T>& at) {
  return std::any_of(at.seen, at.seen + tile.n, [](std::int32_t seen) { return seen != 0; });
}

}  // namespace uner3d::cpu
