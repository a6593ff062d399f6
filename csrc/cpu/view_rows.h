// Gradients of maps without atomics: each thread owns a range of map rows (counted over all views) and adds to those
// alone. Every pixel receives its contributions in the order of the points, whoever owns it, so the result has the same
// bytes for any thread count.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "memory.h"
#include "parallel.h"
#include "view_tiles.h"

namespace uner3d::cpu {

// Which of the two rows of a tap a thread owns.
struct Owned {
  bool first, second;
};

struct RowRange {
  std::int64_t begin, end;  // rows view * height + row

  template <class T>
  Owned owned(const TileView<T>& at, int p, std::int64_t view, const Views<T>& views) const {
    const std::int64_t first = view * views.height + at.row[p], second = first + at.row_step[p];
    return {first >= begin && first < end, second >= begin && second < end};
  }
};

// Cuts the rows of all views into one range per thread with about equal work, estimated from a sample of the tiles.
template <class T>
std::vector<RowRange> balanced_rows(const Views<T>& views, const std::vector<core::Camera<T>>& cameras, const T* points,
                                    const std::uint32_t* order, std::int64_t base, std::int64_t end, int n_threads) {
  const std::int64_t n_rows = views.n_views * views.height;
  const int n_ranges = static_cast<int>(std::min<std::int64_t>(std::max(n_threads, 1), n_rows));
  if (n_ranges <= 1) return {{0, n_rows}};
  std::vector<std::int64_t> work(static_cast<std::size_t>(n_rows), 1);
  const std::int64_t n_tiles = (end - base + kTile - 1) / kTile, stride = std::max<std::int64_t>(1, n_tiles / 128);
  PointTile<T> tile;
  TileView<T> at;
  for (std::int64_t t = 0; t < n_tiles; t += stride) {
    load_tile(points, order, base, base + t * kTile, end, tile);
    for (std::int64_t v = 0; v < views.n_views; ++v) {
      project_tile(cameras[v], views, tile, at);
      for (int p = 0; p < tile.n; ++p)
        if (at.seen[p]) work[v * views.height + at.row[p]] += 16;
    }
  }
  std::int64_t total = 0, sum = 0, row = 0;
  for (const std::int64_t w : work) total += w;
  std::vector<RowRange> ranges;
  for (int i = 0; i < n_ranges; ++i) {
    const std::int64_t begin = row;
    while (row < n_rows && (i + 1 == n_ranges || sum * n_ranges < total * (i + 1))) sum += work[row++];
    ranges.push_back({begin, row});
  }
  return ranges;
}

// Zeroes a large array; fresh pages are first touched by several threads.
template <class T>
void zero_fill(T* to, std::int64_t n, int n_threads) {
  prefer_huge_pages(to, static_cast<std::size_t>(n) * sizeof(T));
  parallel_for(n, std::int64_t(1) << 18, n_threads,
               [&](std::int64_t begin, std::int64_t end) { std::fill(to + begin, to + end, T(0)); });
}

// grad (a pixel's channels from `to` on, and its right neighbour's) += the weights of the two taps times g.
template <class B, class T>
inline __attribute__((always_inline)) void add_to_row(T* to, std::int64_t step_column, T w_left, T w_right,
                                                      const typename B::Vector* g) {
  using V = typename B::Vector;
  for (int i = 0; i < B::kCount; ++i) store(to + i * B::kWidth, load<V>(to + i * B::kWidth) + w_left * g[i]);
  to += step_column;
  for (int i = 0; i < B::kCount; ++i) store(to + i * B::kWidth, load<V>(to + i * B::kWidth) + w_right * g[i]);
}

// Adds g, weighted, to those of the four pixels of a tap that lie in rows the thread owns.
template <class B, class T>
inline __attribute__((always_inline)) void add_to_owned(T* maps, const Tap<T>& tap, Owned owned,
                                                        const typename B::Vector* g) {
  T* to = maps + tap.offset;
  if (owned.first) add_to_row<B>(to, tap.step_column, tap.w.w00, tap.w.w01, g);
  if (owned.second) add_to_row<B>(to + tap.step_row, tap.step_column, tap.w.w10, tap.w.w11, g);
}

// Calls use(tile, at, view) for every tile and every view of the range, in the order of the points; at.seen is left to
// the points with a tap in a row of the range. fetch_point(point) comes a tile earlier.
template <class T, class FetchPoint, class Use>
void for_owned_tiles(const Views<T>& views, const std::vector<core::Camera<T>>& cameras, const T* points,
                     const std::uint32_t* order, std::int64_t base, std::int64_t end, RowRange rows,
                     const FetchPoint& fetch_point, const Use& use) {
  if (rows.begin == rows.end) return;
  const std::int64_t first_view = rows.begin / views.height, last_view = (rows.end - 1) / views.height;
  TileView<T> at;
  for_tiles(points, order, base, base, end, fetch_point, [&](const PointTile<T>& tile) {
    for (std::int64_t v = first_view; v <= last_view; ++v) {
      project_tile(cameras[v], views, tile, at);
      for (int p = 0; p < tile.n; ++p) {
        const Owned owned = rows.owned(at, p, v, views);
        at.seen[p] &= owned.first | owned.second;
      }
      use(tile, at, v);
    }
  });
}

// Calls add(point, view, tap, owned) for every point and view seen that has a tap in a row of the range, in the order
// of the points; fetch_point(point) and fetch_tap(tap) a little earlier.
template <class T, class FetchPoint, class FetchTap, class Add>
void for_owned_taps(const Views<T>& views, const std::vector<core::Camera<T>>& cameras, const T* points,
                    const std::uint32_t* order, std::int64_t base, std::int64_t end, std::int64_t n_channels,
                    RowRange rows, const FetchPoint& fetch_point, const FetchTap& fetch_tap, const Add& add) {
  SeenTaps<T> seen;
  const auto use = [&](const PointTile<T>& tile, const TileView<T>& at, std::int64_t v) {
    seen_taps(tile, at, v, views, n_channels, seen);
    for_seen(seen, fetch_tap,
             [&](int p, const Tap<T>& tap) { add(tile.index[p], v, tap, rows.owned(at, p, v, views)); });
  };
  for_owned_tiles(views, cameras, points, order, base, end, rows, fetch_point, use);
}

}  // namespace uner3d::cpu
