// Gradients of one-channel maps without atomics: tiles of points leave what they add to the maps in a batch, and each
// thread then adds the batch to some rows of the maps. Every pixel receives its contributions in the order of the
// points, whoever adds them, so the result has the same bytes for any thread count.
#pragma once

#include <algorithm>
#include <cstdint>

#include "page_pool.h"
#include "parallel.h"
#include "view_tiles.h"

namespace uner3d::cpu {

// What a tile of points adds to the maps of one view.
template <class T>
struct TapTile {
  std::int32_t n;             // points that add anything
  std::uint8_t place[kTile];  // of those in the tile
  std::int32_t pixel[kTile];  // first of the four, in rows of one pixel more than the map has
  T ax[kTile], ay[kTile];     // fractions along columns and rows
  T grad[2][kTile];           // of the samples of each map
};

// Notes the taps of a tile whose gradients, in to.grad, are not all 0.
template <class T>
void note_taps(const TileView<T>& at, std::int32_t width, TapTile<T>& to) {
  std::int32_t counts[kTile];
#pragma omp simd
  for (int p = 0; p < kTile; ++p) {
    to.pixel[p] = at.row[p] * (width + 1) + at.column[p];
    to.ax[p] = at.ax[p], to.ay[p] = at.ay[p];
    counts[p] = (to.grad[0][p] != T(0)) | (to.grad[1][p] != T(0)) ? 1 : 0;
  }
  std::int32_t n = 0;  // not to.n: for all the compiler knows, to.place might overwrite that
  for (int p = 0; p < kTile; ++p) to.place[n] = static_cast<std::uint8_t>(p), n += counts[p];
  to.n = n;
}

// Sums of the gradients of kMaps maps (1 or 2), their values of a pixel side by side, rows with one more pixel: what a
// point adds to two neighbouring pixels is one vector. Right of the last pixel only zeros are added.
template <class T, int kMaps>
class TapSums {
 public:
  using Pixel = typename Lanes<T, kMaps>::type;
  using Row = typename Lanes<T, 2 * kMaps>::type;  // two neighbouring pixels

  TapSums(const Views<T>& views, int n_threads)
      : width_(static_cast<std::int32_t>(views.width)),
        n_rows_(views.n_views * views.height),
        sums_(n_rows_ * (views.width + 1) * kMaps) {
    parallel_for(n_rows_, 64, n_threads,
                 [&](std::int64_t begin, std::int64_t end) { std::fill(row(begin), row(end), T(0)); });
  }

  T* row(std::int64_t r) const { return sums_.get() + r * (width_ + 1) * kMaps; }

  // Adds to the rows begin..end of a view, whose first row is given. Points of both halves of the tile take turns:
  // neighbours share pixels, and the sum of one would have to wait for that of the other.
  void add(const TapTile<T>& taps, T* view, std::int32_t begin, std::int32_t end) const {
    const std::int32_t from = begin * (width_ + 1), until = end * (width_ + 1);
    const auto add_one = [&](int p) {
      const std::int32_t first = taps.pixel[p], second = below(taps, p);
      Row both;
      share(taps, p, both);
      const Row bottom = taps.ay[p] * both;
      if (first >= from && first < until) add_row(view + first * kMaps, Row(both - bottom));
      if (second >= from && second < until) add_row(view + second * kMaps, bottom);
    };
    const int half = taps.n / 2;
    for (int i = 0; i < half; ++i) add_one(taps.place[i]), add_one(taps.place[half + i]);
    if (taps.n & 1) add_one(taps.place[taps.n - 1]);
  }

  // Asks for the pixels of every second point, whose neighbour in the order mostly lies beside it.
  void fetch(const TapTile<T>& taps, const T* view) const {
    for (int i = 0; i < taps.n; i += 2) {
      const int p = taps.place[i];
      __builtin_prefetch(view + taps.pixel[p] * kMaps, 1), __builtin_prefetch(view + below(taps, p) * kMaps, 1);
    }
  }

  // Writes the sums to one array a map.
  void write(T* const (&maps)[kMaps], int n_threads) const {
    parallel_for(n_rows_, 64, n_threads, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r)
        for (int m = 0; m < kMaps; ++m) {
          const T* const from = row(r) + m;
          T* const to = maps[m] + r * width_;
#pragma omp simd
          for (std::int32_t i = 0; i < width_; ++i) to[i] = from[kMaps * i];
        }
    });
  }

 private:
  // The first pixel in the row below, which may lie outside of the map where it has no weight: then the one above.
  std::int32_t below(const TapTile<T>& taps, int p) const {
    return taps.pixel[p] + (taps.ay[p] > T(0) ? width_ + 1 : 0);
  }

  // Pixel by pixel: a wider read would have to wait for two writes before it, of a neighbour's pixels, to reach the
  // cache.
  static inline __attribute__((always_inline)) void add_row(T* to, const Row& values) {
    Pixel pixels[2];
    __builtin_memcpy(pixels, &values, sizeof values);
    for (int i = 0; i < 2; ++i, to += kMaps) store(to, Pixel(load<Pixel>(to) + pixels[i]));
  }

  // What a point adds to the left and the right pixel, of both rows together.
  static inline __attribute__((always_inline)) void share(const TapTile<T>& taps, int p, Row& both) {
    const T right = taps.ax[p], left = T(1) - right, g = taps.grad[0][p];
    if constexpr (kMaps == 1) {
      both = Row{left, right} * g;
    } else {
      const T h = taps.grad[1][p];
      both = Row{left, left, right, right} * Row{g, h, g, h};
    }
  }

  std::int32_t width_;
  std::int64_t n_rows_;
  Scratch<T> sums_;
};

// Tiles of points wait here until enough are there to be added to the maps at once.
template <class T>
class TapBatch {
 public:
  // For as many points as keep what a thread leaves for all views within its cache. Sums do not depend on the number.
  TapBatch(const Views<T>& views, std::int64_t n_points, int n_threads)
      : views_(views), n_tiles_(count_tiles(views.n_views, n_points, n_threads)), taps_(n_tiles_ * views.n_views) {}

  std::int64_t n_points() const { return n_tiles_ * kTile; }

  TapTile<T>& at(std::int64_t tile, std::int64_t view) { return taps_[view * n_tiles_ + tile]; }

  // Adds the first tiles.
  template <int kMaps>
  void add_to(const TapSums<T, kMaps>& sums, std::int64_t n_tiles, int n_threads) const {
    const std::int64_t n_views = views_.n_views, height = views_.height;
    if (n_views * height == 0) return;
    const std::int64_t n_bands = std::min(height, (2 * n_threads + n_views - 1) / n_views);  // of rows of one view
    parallel_for(n_views * n_bands, 1, n_threads, [&](std::int64_t i, std::int64_t) {
      const std::int64_t view = i / n_bands, band = i % n_bands;
      const auto begin = static_cast<std::int32_t>(height * band / n_bands);
      const auto end = static_cast<std::int32_t>(height * (band + 1) / n_bands);
      const TapTile<T>* const taps = taps_.get() + view * n_tiles_;
      T* const first_row = sums.row(view * height);
      for (std::int64_t t = 0; t < n_tiles; ++t) {
        if (t + 1 < n_tiles) sums.fetch(taps[t + 1], first_row);
        sums.add(taps[t], first_row, begin, end);
      }
    });
  }

 private:
  static constexpr std::int64_t kPairs = std::int64_t(1) << 15;  // of points and views, for each thread

  static std::int64_t count_tiles(std::int64_t n_views, std::int64_t n_points, int n_threads) {
    const std::int64_t per_thread = kPairs / (kTile * std::max<std::int64_t>(1, n_views));
    const std::int64_t most = std::max<std::int64_t>(1, per_thread) * std::max(n_threads, 1);
    return std::min(most, (n_points + kTile - 1) / kTile);
  }

  Views<T> views_;
  std::int64_t n_tiles_;
  Scratch<TapTile<T>> taps_;
};

}  // namespace uner3d::cpu
