// Points in small tiles, projected into one view after another: structure of arrays, so that the loops vectorise.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../core/camera.h"
#include "../ops/views.h"
#include "lanes.h"
#include "prefetch.h"

namespace uner3d::cpu {

constexpr int kTile = 32;
constexpr int kTilesAhead = 6;  // between the fetch of points in order and their use
constexpr int kAhead = 8;       // taps between the fetch of a pixel and its use

template <class T>
struct PointTile {
  T x[kTile], y[kTile], z[kTile];
  std::int64_t index[kTile];  // of the point in the caller's order
  int n;
};

// Points [begin, begin + kTile) of `order` (null: the order they come in), at most to `end`. What is left of the tile
// repeats the last point, so that loops may run over all of it.
template <class T>
void load_tile(const T* points, const std::uint32_t* order, std::int64_t base, std::int64_t begin, std::int64_t end,
               PointTile<T>& tile) {
  tile.n = static_cast<int>(std::min<std::int64_t>(kTile, end - begin));
  if (!order && tile.n == kTile) {  // the common case, free of branches
    const T* const from = points + 3 * begin;
    // A stream of points crosses a page every few tiles, and there the processor's own prefetching ends.
    prefetch_ahead(from, 3 * kTile * kTilesAhead, 3 * kTile);
#pragma omp simd
    for (int p = 0; p < kTile; ++p) tile.index[p] = begin + p;
#pragma omp simd
    for (int p = 0; p < kTile; ++p) tile.x[p] = from[3 * p], tile.y[p] = from[3 * p + 1], tile.z[p] = from[3 * p + 2];
    return;
  }
  for (int p = 0; p < kTile; ++p) {
    const std::int64_t i = begin + std::min(p, tile.n - 1);
    const std::int64_t index = order ? base + order[i - base] : i;
    tile.index[p] = index;
    tile.x[p] = points[3 * index];
    tile.y[p] = points[3 * index + 1];
    tile.z[p] = points[3 * index + 2];
  }
}

// Another array of three values a point, for the points of `like`.
template <class T>
void load_like(const T* values, const PointTile<T>& like, PointTile<T>& tile) {
  for (int p = 0; p < kTile; ++p) {
    const T* from = values + 3 * like.index[p];
    tile.x[p] = from[0], tile.y[p] = from[1], tile.z[p] = from[2];
  }
}

// Calls use(tile) for the points begin..end tile by tile, and fetch(point) for each point of the tile after it: what
// lies in the caller's order is far apart in the sorted one, so it must be asked for early.
template <class T, class Fetch, class Use>
inline __attribute__((always_inline)) void for_tiles(const T* points, const std::uint32_t* order, std::int64_t base,
                                                     std::int64_t begin, std::int64_t end, const Fetch& fetch,
                                                     const Use& use) {
  if (begin >= end) return;
  PointTile<T> tiles[2];
  const auto load = [&](std::int64_t from, PointTile<T>& tile) {
    load_tile(points, order, base, from, end, tile);
    for (int p = 0; p < tile.n; ++p) fetch(tile.index[p]);
  };
  load(begin, tiles[0]);
  for (int current = 0; begin < end; begin += kTile, current ^= 1) {
    if (begin + kTile < end) load(begin + kTile, tiles[current ^ 1]);
    use(tiles[current]);
  }
}

template <class T>
struct TileView {
  std::int32_t seen[kTile];
  T u[kTile], v[kTile], z[kTile], inv_z[kTile];
  std::int32_t column[kTile], row[kTile], column_step[kTile], row_step[kTile];
  T ax[kTile], ay[kTile];  // fractions along columns and rows
};

template <class T>
void project_tile(const core::Camera<T>& camera, const Views<T>& views, const PointTile<T>& tile, TileView<T>& out) {
  const core::Camera<T> c = camera;
  const T width = static_cast<T>(views.width), height = static_cast<T>(views.height);
  const std::int32_t n_columns = static_cast<std::int32_t>(views.width),
                     n_rows = static_cast<std::int32_t>(views.height);
#pragma omp simd
  for (int p = 0; p < kTile; ++p) {
    const auto at = core::project(c, tile.x[p], tile.y[p], tile.z[p], width, height);
    const T u = at.seen ? at.u : T(0), v = at.seen ? at.v : T(0);
    const auto columns = core::axis(u, n_columns);
    const auto rows = core::axis(v, n_rows);
    out.seen[p] = at.seen;
    out.u[p] = u, out.v[p] = v, out.z[p] = at.z, out.inv_z[p] = at.inv_z;
    out.column[p] = columns.index, out.column_step[p] = columns.step, out.ax[p] = columns.fraction;
    out.row[p] = rows.index, out.row_step[p] = rows.step, out.ay[p] = rows.fraction;
  }
}

// Where one point falls in one map of n_channels values a pixel: offset of the first tap, steps to its neighbours.
template <class T>
struct Tap {
  std::int64_t offset, step_column, step_row;
  core::BilinearWeights<T> w;
};

template <class T>
inline __attribute__((always_inline)) Tap<T> make_tap(const TileView<T>& at, int p, std::int64_t view,
                                                      const Views<T>& views, std::int64_t n_channels) {
  Tap<T> tap;
  tap.offset = ((view * views.height + at.row[p]) * views.width + at.column[p]) * n_channels;
  tap.step_column = at.column_step[p] * n_channels;
  tap.step_row = at.row_step[p] * views.width * n_channels;
  tap.w = core::bilinear_weights(at.ax[p], at.ay[p]);
  return tap;
}

// The four pixels of a tap, one vector of channels of each.
template <class V>
struct Corners {
  V p00, p01, p10, p11;
};

template <class V, class T>
inline __attribute__((always_inline)) Corners<V> load_corners(const T* maps, const Tap<T>& tap, std::int64_t channel) {
  const T* at = maps + tap.offset + channel;
  return {load<V>(at), load<V>(at + tap.step_column), load<V>(at + tap.step_row),
          load<V>(at + tap.step_row + tap.step_column)};
}

template <class V, class T>
inline __attribute__((always_inline)) V sample(const T* maps, const Tap<T>& tap, std::int64_t channel) {
  const auto c = load_corners<V>(maps, tap, channel);
  return core::bilinear(c.p00, c.p01, c.p10, c.p11, tap.w);
}

// All channels of a sample.
template <class T>
inline __attribute__((always_inline)) void sample_into(const T* maps, const Tap<T>& tap, std::int64_t n_channels,
                                                       T* to) {
  for_channel_blocks<T>(n_channels, [&](auto block, std::int64_t channel) {
    using B = decltype(block);
    for (int k = 0; k < B::kCount; ++k) {
      const std::int64_t c = channel + k * B::kWidth;
      store(to + c, sample<typename B::Vector>(maps, tap, c));
    }
  });
}

// The four pixels of a one-channel map around every point of a tile.
template <class T>
struct TileCorners {
  T p00[kTile], p01[kTile], p10[kTile], p11[kTile];
};

// Two neighbouring pixels of a row, at `from` and after it.
template <class T>
inline __attribute__((always_inline)) void copy_pair(const T* from, T* to) {
  __builtin_memcpy(to, from, 2 * sizeof(T));
}

// Both pixels of a row come in one read, and lie in memory for the vector loops: several times as fast as reads of one
// pixel each, which compilers put together lane by lane. A pair may not reach beyond the row.
template <class T>
void gather(const T* map, std::int32_t width, const TileView<T>& at, TileCorners<T>& out) {
  T top[2 * kTile], bottom[2 * kTile];
  std::int32_t top_at[kTile], bottom_at[kTile];
  const std::int32_t last = width > 2 ? width - 2 : 0;  // where a pair may begin
#pragma omp simd
  for (int p = 0; p < kTile; ++p) {
    top_at[p] = at.row[p] * width + (at.column[p] < last ? at.column[p] : last);
    bottom_at[p] = top_at[p] + at.row_step[p] * width;
  }
  for (int p = 0; p < kTile; ++p) {
    if (width > 1) {
      copy_pair(map + top_at[p], top + 2 * p);
      copy_pair(map + bottom_at[p], bottom + 2 * p);
    } else {
      top[2 * p] = top[2 * p + 1] = map[top_at[p]];
      bottom[2 * p] = bottom[2 * p + 1] = map[bottom_at[p]];
    }
  }
#pragma omp simd
  for (int p = 0; p < kTile; ++p) {
    const bool is_second = at.column[p] > last, is_pair = at.column_step[p] != 0;
    const T top0 = top[2 * p], top1 = top[2 * p + 1], bottom0 = bottom[2 * p], bottom1 = bottom[2 * p + 1];
    out.p00[p] = is_second ? top1 : top0;
    out.p01[p] = is_second | is_pair ? top1 : top0;
    out.p10[p] = is_second ? bottom1 : bottom0;
    out.p11[p] = is_second | is_pair ? bottom1 : bottom0;
  }
}

// Fetches the four pixels of a tap ahead of their use.
template <class T>
inline __attribute__((always_inline)) void prefetch_tap(const T* maps, const Tap<T>& tap, std::int64_t n_channels) {
  prefetch(maps + tap.offset, tap.step_column + n_channels);
  if (tap.step_row) prefetch(maps + tap.offset + tap.step_row, tap.step_column + n_channels);
}

// The points of a tile that a view sees, one after another.
template <class T>
struct SeenTaps {
  Tap<T> taps[kTile];
  int place[kTile];  // in the tile
  int n = 0;
};

template <class T>
void seen_taps(const PointTile<T>& tile, const TileView<T>& at, std::int64_t view, const Views<T>& views,
               std::int64_t n_channels, SeenTaps<T>& out) {
  out.n = 0;
  for (int p = 0; p < tile.n; ++p) {
    out.taps[out.n] = make_tap(at, p, view, views, n_channels);
    out.place[out.n] = p;
    out.n += at.seen[p] != 0;  // no branch: which views see a point is hard to predict
  }
}

// Calls use(place, tap) for each, and fetch(tap) some calls earlier.
template <class T, class Fetch, class Use>
inline __attribute__((always_inline)) void for_seen(const SeenTaps<T>& seen, const Fetch& fetch, const Use& use) {
  for (int i = 0; i < std::min(kAhead, seen.n); ++i) fetch(seen.taps[i]);
  for (int i = 0; i < seen.n; ++i) {
    if (i + kAhead < seen.n) fetch(seen.taps[i + kAhead]);
    use(seen.place[i], seen.taps[i]);
  }
}

template <class T>
std::vector<core::Camera<T>> make_cameras(const Views<T>& views) {
  std::vector<core::Camera<T>> cameras(static_cast<std::size_t>(views.n_views));
  for (std::int64_t v = 0; v < views.n_views; ++v)
    cameras[static_cast<std::size_t>(v)] = core::make_camera(views.K + 9 * v, views.cam_from_world + 12 * v);
  return cameras;
}

}  // namespace uner3d::cpu
