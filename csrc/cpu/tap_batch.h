// Gradients of one-channel maps without atomics: tiles of points leave what they add to the maps in a batch, and each
// thread then adds the batch to some rows of the maps. Every pixel receives its contributions in the order of the
// points, whoever adds them, so the result has the same bytes for any thread count.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "parallel.h"
#include "view_tiles.h"

namespace uner3d::cpu {

// What a tile of points adds to the maps of one view.
template <class T>
struct TapTile {
  std::int32_t n;               // points that add anything
  std::uint8_t place[kTile];    // of those in the tile
  std::int32_t pixel[kTile];    // first tap, within the map
  T ax[kTile], ay[kTile];       // fractions along columns and rows
  T mask[kTile], depth[kTile];  // gradients of the samples
};

// Notes the taps of a tile whose gradients, to.mask and to.depth, are not both 0.
template <class T>
void note_taps(const TileView<T>& at, std::int32_t width, TapTile<T>& to) {
  std::int32_t counts[kTile];
#pragma omp simd
  for (int p = 0; p < kTile; ++p) {
    to.pixel[p] = at.row[p] * width + at.column[p];
    to.ax[p] = at.ax[p], to.ay[p] = at.ay[p];
    counts[p] = (to.mask[p] != T(0)) | (to.depth[p] != T(0)) ? 1 : 0;
  }
  std::int32_t n = 0;  // not to.n: for all the compiler knows, to.place might overwrite that
  for (int p = 0; p < kTile; ++p) to.place[n] = static_cast<std::uint8_t>(p), n += counts[p];
  to.n = n;
}

// What each point of a tile adds to its four pixels.
template <class T>
struct TapShares {
  T w00[kTile], w01[kTile], w10[kTile], w11[kTile];
};

template <class T>
void share(const TapTile<T>& taps, const T* grad, TapShares<T>& out) {
#pragma omp simd
  for (int p = 0; p < kTile; ++p) {
    const auto w = core::bilinear_weights(taps.ax[p], taps.ay[p]);
    out.w00[p] = w.w00 * grad[p], out.w01[p] = w.w01 * grad[p];
    out.w10[p] = w.w10 * grad[p], out.w11[p] = w.w11 * grad[p];
  }
}

// Adds to the pixels begin..end of the maps of one view, each of which may be null. Points of both halves of the tile
// take turns: neighbours share pixels, and the sum of one would have to wait for that of the other.
template <class T>
void add_taps(const TapTile<T>& taps, std::int32_t width, std::int32_t begin, std::int32_t end, T* masks, T* depths) {
  TapShares<T> mask, depth;
  std::int32_t right[kTile], below[kTile];
  if (masks) share(taps, taps.mask, mask);
  if (depths) share(taps, taps.depth, depth);
#pragma omp simd
  for (int p = 0; p < kTile; ++p) {  // a tap of weight 0 may lie outside of the map: the one before it stands in
    right[p] = taps.ax[p] > T(0) ? 1 : 0;
    below[p] = taps.ay[p] > T(0) ? width : 0;
  }
  const auto add = [&](int p) {
    const std::int32_t top = taps.pixel[p], bottom = top + below[p], step = right[p];
    if (top >= begin && top < end) {
      if (masks) masks[top] += mask.w00[p], masks[top + step] += mask.w01[p];
      if (depths) depths[top] += depth.w00[p], depths[top + step] += depth.w01[p];
    }
    if (bottom >= begin && bottom < end) {
      if (masks) masks[bottom] += mask.w10[p], masks[bottom + step] += mask.w11[p];
      if (depths) depths[bottom] += depth.w10[p], depths[bottom + step] += depth.w11[p];
    }
  };
  const int half = taps.n / 2;
  for (int i = 0; i < half; ++i) add(taps.place[i]), add(taps.place[half + i]);
  if (taps.n & 1) add(taps.place[taps.n - 1]);
}

// Asks for the first tap of every second point, whose neighbour in the order mostly lies beside it.
template <class T>
void fetch_taps(const TapTile<T>& taps, std::int32_t width, const T* masks, const T* depths) {
  for (int i = 0; i < taps.n; i += 2) {
    const int p = taps.place[i];
    const std::int32_t top = taps.pixel[p], bottom = top + (taps.ay[p] > T(0) ? width : 0);
    if (masks) __builtin_prefetch(masks + top, 1), __builtin_prefetch(masks + bottom, 1);
    if (depths) __builtin_prefetch(depths + top, 1), __builtin_prefetch(depths + bottom, 1);
  }
}

template <class T>
class TapBatch {
 public:
  // For as many points as keep a batch, of all views, within a few megabytes.
  TapBatch(const Views<T>& views, std::int64_t n_points) : views_(views) {
    const std::int64_t most = std::max<std::int64_t>(1, kPairs / (kTile * std::max<std::int64_t>(1, views.n_views)));
    n_tiles_ = std::min(most, (n_points + kTile - 1) / kTile);
    taps_.reset(new TapTile<T>[static_cast<std::size_t>(n_tiles_ * views.n_views)]);
  }

  std::int64_t n_points() const { return n_tiles_ * kTile; }

  TapTile<T>& at(std::int64_t tile, std::int64_t view) { return taps_[view * n_tiles_ + tile]; }

  // Adds the first tiles to the maps (n_views, height, width), each of which may be null.
  void add_to(T* masks, T* depths, std::int64_t n_tiles, int n_threads) const {
    const std::int64_t n_views = views_.n_views, height = views_.height, n_pixels = height * views_.width;
    if (n_views * height == 0) return;
    const std::int64_t n_bands = std::min(height, (2 * n_threads + n_views - 1) / n_views);  // of rows of one view
    parallel_for(n_views * n_bands, 1, n_threads, [&](std::int64_t i, std::int64_t) {
      const std::int64_t view = i / n_bands, band = i % n_bands;
      const auto begin = static_cast<std::int32_t>(height * band / n_bands * views_.width);
      const auto end = static_cast<std::int32_t>(height * (band + 1) / n_bands * views_.width);
      const auto width = static_cast<std::int32_t>(views_.width);
      T* const to_masks = masks ? masks + view * n_pixels : nullptr;
      T* const to_depths = depths ? depths + view * n_pixels : nullptr;
      for (std::int64_t t = 0; t < n_tiles; ++t) {
        if (t + 1 < n_tiles) fetch_taps(taps_[view * n_tiles_ + t + 1], width, to_masks, to_depths);
        add_taps(taps_[view * n_tiles_ + t], width, begin, end, to_masks, to_depths);
      }
    });
  }

 private:
  static constexpr std::int64_t kPairs = std::int64_t(1) << 17;  // of points and views

  Views<T> views_;
  std::int64_t n_tiles_;
  std::unique_ptr<TapTile<T>[]> taps_;
};

}  // namespace uner3d::cpu
