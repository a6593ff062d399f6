// The factors of the weights of a tile of points in one view, and their derivatives: a loop over the tile per factor,
// so that each vectorises.
#pragma once

#include <cmath>

#include "../core/view_weights.h"
#include "paired_maps.h"
#include "view_tiles.h"

namespace uner3d::cpu {

template <class T>
struct WeightTile {
  T ray_x[kTile], ray_y[kTile], ray_z[kTile], inv_length[kTile], cosine[kTile];  // only with directions
  TileCorners<T> mask_corners, depth_corners;                                    // only with masks, with depths
  T inv_depth[kTile], ramp[kTile], known[kTile];                                 // only with depths; known: 1 or 0
  T angle[kTile], mask[kTile], visibility[kTile];                                // 1 where absent
  T angle_slope[kTile];                                                          // to the cosine
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
      w.angle_slope[p] = lit ? power * (w.angle[p] / w.cosine[p]) : T(0);
    }
    return;
  }
  using V = typename Lanes<T, kVectorBytes / sizeof(T)>::type;
  for (int p = 0; p < kTile; p += kVectorBytes / static_cast<int>(sizeof(T))) {
    const V cosine = load<V>(w.cosine + p);
    V square = cosine, lower = V{} + T(1);
    for (int bits = static_cast<int>(power) - 1; bits > 0; bits >>= 1) {
      if (bits & 1) lower *= square;
      square *= square;
    }
    store(w.angle + p, V(lower * cosine));
    store(w.angle_slope + p, V(power * lower));
  }
#pragma omp simd
  for (int p = 0; p < kTile; ++p) w.angle_slope[p] = w.cosine[p] > T(0) ? w.angle_slope[p] : T(0);
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
#pragma omp simd
  for (int p = 0; p < kTile; ++p) {
    const T p00 = c.p00[p], p01 = c.p01[p], p10 = c.p10[p], p11 = c.p11[p];
    const bool known = core::are_depths(p00, p01, p10, p11);
    w.known[p] = known ? T(1) : T(0);
    c.p00[p] = known ? p00 : T(1);  // a flat patch for those unknown: no gradient, nothing that is not a number
    c.p01[p] = known ? p01 : T(1);
    c.p10[p] = known ? p10 : T(1);
    c.p11[p] = known ? p11 : T(1);
  }
#pragma omp simd
  for (int p = 0; p < kTile; ++p) {
    const T inv_depth = T(1) / core::bilinear(c.p00[p], c.p01[p], c.p10[p], c.p11[p], at.ax[p], at.ay[p]);
    const T ramp = core::visibility_ramp(at.z[p] * inv_depth, inv_tolerance);
    const T visible = core::clamp_to_unit(ramp);
    w.inv_depth[p] = inv_depth;
    w.ramp[p] = ramp;
    w.visibility[p] = w.known[p] > T(0) ? visible : T(1);
  }
}

// All factors of a tile in view number `view`; `directions` is only read where args.directions is given.
template <class Args, class T>
void weigh(const Args& a, const WeightMaps<T>& maps, const core::Camera<T>& camera, std::int64_t view,
           const PointTile<T>& tile, const PointTile<T>& directions, const TileView<T>& at, WeightTile<T>& w) {
  std::fill(w.angle, w.angle + kTile, T(1));
  std::fill(w.mask, w.mask + kTile, T(1));
  std::fill(w.visibility, w.visibility + kTile, T(1));
  if (a.directions) weigh_angles(camera, tile, directions, a.angle_power, w);
  maps.gather(view, at, w.mask_corners, w.depth_corners);
  if (a.masks) weigh_masks(at, w);
  if (a.depths) weigh_depths(at, T(1) / a.depth_tolerance, w);
}

template <class T>
bool any_seen(const TileView<T>& at) {  // what fills up the last tile repeats its last point
  std::int32_t seen = 0;
  for (int p = 0; p < kTile; ++p) seen |= at.seen[p];
  return seen != 0;
}

// Calls f(view, at) for the views that see any point of a tile, and none(view) for the others. Each tile is projected
// one view ahead, so that the pixels it needs are on their way.
template <class Args, class T, class Next, class F, class None>
inline __attribute__((always_inline)) void for_views(const Args& a, const WeightMaps<T>& maps,
                                                     const std::vector<core::Camera<T>>& cameras,
                                                     const PointTile<T>& tile, const Next& next, const F& f,
                                                     const None& none) {
  TileView<T> at[2];
  const auto project = [&](std::int64_t v) {
    project_tile(cameras[v], a.views, tile, at[v & 1]);
    maps.fetch(v, at[v & 1]);
  };
  if (a.views.n_views > 0) project(0);
  for (std::int64_t v = 0; v < a.views.n_views; ++v) {
    next.fetch(v);
    if (v + 1 < a.views.n_views) project(v + 1);
    if (any_seen(at[v & 1]))
      f(v, at[v & 1]);
    else
      none(v);
  }
}

constexpr std::int64_t kTilesPerChunk = 16;
// Points sorted together. Maps of one or two values a pixel stay cached even so, the rows of the points and views are
// what costs, and several threads can sort.
constexpr std::int64_t kWeightRun = std::int64_t(1) << 18;

// Arrays of `stride` values a point that are read or written tile by tile.
template <class T>
struct PointRows {
  const T* data;  // may be null
  std::int64_t stride;
};

// Asks for what the tile after the current one will read and write, which lies far apart in sorted order: some of it
// with every view, since the processor waits on many requests at once.
template <class T, int kArrays>
struct NextTile {
  const std::uint32_t* order;  // of the first point; null: the order they come in, in which nothing needs asking for
  std::int64_t base, n, n_views;
  PointRows<T> rows[kArrays];

  void fetch(std::int64_t view) const {
    for (std::int64_t i = n * view / n_views; i < n * (view + 1) / n_views; ++i)
      for (const PointRows<T>& r : rows)
        if (r.data) prefetch(r.data + (base + order[i]) * r.stride, r.stride);
  }
};

// Calls f(tile, directions, next) over the points begin..end; the directions, where given, lie in a tile of their own;
// f must call next.fetch(view) for every view. `rows`: what f uses besides the points and directions.
template <class Args, class F, class... Rows>
void for_weight_tiles(const Args& a, const std::uint32_t* order, std::int64_t base, std::int64_t begin,
                      std::int64_t end, const F& f, Rows... rows) {
  using T = std::decay_t<decltype(*a.points)>;
  PointTile<T> tile, directions{};
  NextTile<T, 2 + sizeof...(Rows)> next{order, base, 0, a.views.n_views, {{a.points, 3}, {a.directions, 3}, rows...}};
  for (std::int64_t i = begin; i < end; i += kTile) {
    load_tile(a.points, order, base, i, end, tile);
    if (a.directions) load_like(a.directions, tile, directions);
    if (order) {
      next.order = order + (i + kTile - base);
      next.n = std::max<std::int64_t>(0, std::min<std::int64_t>(kTile, end - i - kTile));
    }
    f(tile, directions, next);
  }
}

}  // namespace uner3d::cpu
