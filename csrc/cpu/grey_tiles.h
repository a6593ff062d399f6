// sample_views of maps with one channel, over the points of a tile where the general form goes over channels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../ops/sample_views.h"
#include "view_tiles.h"

namespace uner3d::cpu {

constexpr std::int64_t kMostGreyPixels = std::int64_t(1) << 24;  // on a side, which a float must tell apart

// Where the points of a tile fall in a map of one channel: the upper left of four pixels that lie in the map, and how
// far right of it and below it a point lies. Beyond the outermost centres that is less than 0, or 1 and more.
template <class T>
struct GreyTaps {
  std::int32_t first[kTile], seen[kTile];
  T ax[kTile], ay[kTile];
  T top[2 * kTile], bottom[2 * kTile];  // the pixels, in pairs
};

// One axis, which ends at the pixel after `last`.
template <class T>
inline __attribute__((always_inline)) std::int32_t first_of_two(T u, T last, T& fraction) {
  const T at = u - T(0.5), inside = at > T(0) ? at : T(0);  // 0 for NaN too, and no number is too large to convert
  const std::int32_t index = static_cast<std::int32_t>(inside < last ? inside : last);
  fraction = at - static_cast<T>(index);
  return index;
}

template <class T>
void find_grey_taps(const core::Camera<T>& camera, const Views<T>& views, const PointTile<T>& tile, GreyTaps<T>& out) {
  const core::Camera<T> c = camera;
  const T width = static_cast<T>(views.width), height = static_cast<T>(views.height);
  const std::int32_t n_columns = static_cast<std::int32_t>(views.width);
#pragma omp simd
  for (int p = 0; p < kTile; ++p) {
    const auto at = core::project(c, tile.x[p], tile.y[p], tile.z[p], width, height);
    const std::int32_t column = first_of_two(at.u, width - T(2), out.ax[p]);
    const std::int32_t row = first_of_two(at.v, height - T(2), out.ay[p]);
    out.first[p] = row * n_columns + column;
    out.seen[p] = at.seen;
  }
}

// Two neighbouring pixels come in one read, and those of two points are written together. The empty statement keeps
// compilers from putting wider vectors together out of them, which takes longer than to write and read these.
template <class T>
void read_grey_pairs(const T* map, std::int64_t width, GreyTaps<T>& taps) {
  using Pair = typename Lanes<T, 2>::type;
  const auto copy = [](const T* a, const T* b, T* to) {
    if constexpr (4 * sizeof(T) <= kVectorBytes)
      store(to, __builtin_shufflevector(load<Pair>(a), load<Pair>(b), 0, 1, 2, 3));
    else
      store(to, load<Pair>(a)), store(to + 2, load<Pair>(b));
    __asm__ volatile("" ::: "memory");
  };
  const T* const below = map + width;
#pragma GCC unroll 8
  for (int p = 0; p < kTile; p += 2) {
    const std::int64_t a = taps.first[p], b = taps.first[p + 1];
    copy(map + a, map + b, taps.top + 2 * p);
    copy(below + a, below + b, taps.bottom + 2 * p);
  }
}

// Where a point lies beyond the outermost centres, the nearer of both values whatever the other is.
template <class T>
void blend_grey_pairs(const GreyTaps<T>& taps, T* values) {
  T top[kTile], bottom[kTile];
#pragma omp simd
  for (int p = 0; p < kTile; ++p) {
    const T a = taps.ax[p];
    const T top0 = taps.top[2 * p], top1 = taps.top[2 * p + 1];
    const T bottom0 = taps.bottom[2 * p], bottom1 = taps.bottom[2 * p + 1];
    const T top_left = a >= T(1) ? top1 : top0, bottom_left = a >= T(1) ? bottom1 : bottom0;
    const T top_right = a > T(0) ? top1 : top0, bottom_right = a > T(0) ? bottom1 : bottom0;
    top[p] = top_left + a * (top_right - top_left);
    bottom[p] = bottom_left + a * (bottom_right - bottom_left);
  }
#pragma omp simd
  for (int p = 0; p < kTile; ++p) {
    const T a = taps.ay[p];
    const T upper = a >= T(1) ? bottom[p] : top[p], lower = a > T(0) ? bottom[p] : top[p];
    const T value = upper + a * (lower - upper);
    values[p] = taps.seen[p] ? value : T(0);
  }
}

constexpr int kGreyViews = 4;  // written together

// What some neighbouring views hold of a tile of points.
template <class T>
struct GreyTile {
  T values[kGreyViews][kTile];
  std::int32_t seen[kGreyViews][kTile];
};

// Four views turned into rows of points, four by four.
template <class T>
void write_four_views(const GreyTile<T>& from, std::int64_t n_views, T* values, bool* valid) {
  using V = typename Lanes<T, 4>::type;
  std::uint32_t flags[kTile];  // the first view is the lowest byte
#pragma omp simd
  for (int p = 0; p < kTile; ++p)
    flags[p] = static_cast<std::uint32_t>(from.seen[0][p] | from.seen[1][p] << 8 | from.seen[2][p] << 16 |
                                          from.seen[3][p] << 24);
  for (int p = 0; p < kTile; p += 4) {
    const V a = load<V>(from.values[0] + p), b = load<V>(from.values[1] + p);
    const V c = load<V>(from.values[2] + p), d = load<V>(from.values[3] + p);
    const V ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const V cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    T* const to = values + p * n_views;
    store(to, V(__builtin_shufflevector(ab0, cd0, 0, 1, 4, 5)));
    store(to + n_views, V(__builtin_shufflevector(ab0, cd0, 2, 3, 6, 7)));
    store(to + 2 * n_views, V(__builtin_shufflevector(ab2, cd2, 0, 1, 4, 5)));
    store(to + 3 * n_views, V(__builtin_shufflevector(ab2, cd2, 2, 3, 6, 7)));
    for (int q = 0; q < 4; ++q) __builtin_memcpy(valid + (p + q) * n_views, flags + p + q, sizeof *flags);
  }
}

template <class T>
void write_grey_tile(const GreyTile<T>& from, int n_points, int n_of_views, std::int64_t n_views, T* values,
                     bool* valid) {
  if constexpr (4 * sizeof(T) <= kVectorBytes && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
    if (n_points == kTile && n_of_views == kGreyViews) return write_four_views(from, n_views, values, valid);
  if (n_views == 1) {
    std::copy(from.values[0], from.values[0] + n_points, values);
    for (int p = 0; p < n_points; ++p) valid[p] = from.seen[0][p] != 0;
    return;
  }
  for (int p = 0; p < n_points; ++p)
    for (int v = 0; v < n_of_views; ++v) {
      values[p * n_views + v] = from.values[v][p];
      valid[p * n_views + v] = from.seen[v][p] != 0;
    }
}

// Points [begin, end), in maps of two rows and columns or more. The pairs of a view wait while those of the next are
// found: a vector cannot be loaded at once from where shorter ones were just written.
template <class T>
void sample_grey(const SampleViewsArgs<T>& a, const std::vector<core::Camera<T>>& cameras, std::int64_t begin,
                 std::int64_t end) {
  const std::int64_t n_views = a.views.n_views, n_pixels = a.views.height * a.views.width;
  PointTile<T> tile;
  GreyTaps<T> taps[2];
  GreyTile<T> out;
  const auto find = [&](std::int64_t view) { find_grey_taps(cameras[view], a.views, tile, taps[view & 1]); };
  const auto read = [&](std::int64_t view) {
    read_grey_pairs(a.maps + view * n_pixels, a.views.width, taps[view & 1]);
  };
  for (; begin < end; begin += kTile) {
    load_tile(a.points, nullptr, 0, begin, end, tile);
    find(0), read(0);
    for (std::int64_t view = 0; view < n_views; ++view) {
      const bool has_next = view + 1 < n_views;
      const int place = static_cast<int>(view % kGreyViews);
      if (has_next) find(view + 1);
      blend_grey_pairs(taps[view & 1], out.values[place]);
      std::copy(taps[view & 1].seen, taps[view & 1].seen + kTile, out.seen[place]);
      if (has_next) read(view + 1);
      if (place + 1 < kGreyViews && has_next) continue;
      const std::int64_t to = begin * n_views + view - place;
      write_grey_tile(out, tile.n, place + 1, n_views, a.values + to, a.valid + to);
    }
  }
}

}  // namespace uner3d::cpu
