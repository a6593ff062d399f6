// Gradients of maps without atomics: each thread owns a range of map rows (counted over all views) and adds to those
// alone. Every pixel receives its contributions in the order of the points, whoever owns it, so the result has the same
// bytes for any thread count.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "parallel.h"
#include "view_tiles.h"

namespace uner3d::cpu {

struct RowRange {
  std::int64_t begin, end;  // rows view * height + row

  bool has(std::int64_t row) const { return row >= begin && row < end; }
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

// For every point and view seen, in the order of the points, calls add(point, view, tap, own_first, own_second) where the
// calling thread owns the tap's first or second row.
template <class T, class Add>
void for_owned_taps(const Views<T>& views, const std::vector<core::Camera<T>>& cameras, const T* points,
                    const std::uint32_t* order, std::int64_t base, std::int64_t end, std::int64_t n_channels,
                    RowRange rows, const Add& add) {
  if (rows.begin == rows.end) return;
  const std::int64_t first_view = rows.begin / views.height, last_view = (rows.end - 1) / views.height;
  PointTile<T> tile;
  TileView<T> at;
  for (std::int64_t begin = base; begin < end; begin += kTile) {
    load_tile(points, order, base, begin, end, tile);
    for (std::int64_t v = first_view; v <= last_view; ++v) {
      project_tile(cameras[v], views, tile, at);
      for (int p = 0; p < tile.n; ++p) {
        if (!at.seen[p]) continue;
        const std::int64_t row = v * views.height + at.row[p];
        const bool first = rows.has(row), second = rows.has(row + at.row_step[p]);
        if (first | second) add(tile.index[p], v, make_tap(at, p, v, views, n_channels), first, second);
      }
    }
  }
}

}  // namespace uner3d::cpu
