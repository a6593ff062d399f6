// Masks and depths side by side, a pixel after the other, so that one read brings both for two neighbouring pixels.
// Rows have one more pixel, since what lies right of the last has no weight but is read.
#pragma once

#include <cstdint>

#include "page_pool.h"
#include "parallel.h"
#include "view_tiles.h"

namespace uner3d::cpu {

// The maps that weights depend on, each of which may be absent. Paired where both are there and the points are so many
// that the copy pays.
template <class T>
class WeightMaps {
 public:
  template <class Args>
  WeightMaps(const Args& a, int n_threads)
      : masks_(a.masks),
        depths_(a.depths),
        width_(static_cast<std::int32_t>(a.views.width)),
        n_pixels_(a.views.height * a.views.width),
        n_rows_(a.views.n_views * a.views.height),
        is_paired_(a.masks && a.depths && a.n_points >= n_pixels_ && a.views.width > 0),
        pairs_(is_paired_ ? 2 * n_rows_ * (a.views.width + 1) : 0) {
    if (is_paired_) copy_pairs(n_threads);
  }

  // The pixels around the points of a tile in a view, of the maps that are there.
  void gather(std::int64_t view, const TileView<T>& at, TileCorners<T>& mask, TileCorners<T>& depth) const {
    if (is_paired_) return gather_pairs(row(view), at, mask, depth);
    if (masks_) cpu::gather(masks_ + view * n_pixels_, width_, at, mask);
    if (depths_) cpu::gather(depths_ + view * n_pixels_, width_, at, depth);
  }

  // Asks for what gather() will read: of every second point, whose neighbour in the order mostly lies beside it.
  void fetch(std::int64_t view, const TileView<T>& at) const {
    for (int p = 0; p < kTile; p += 2) {
      if (is_paired_) {
        const T* const top = row(view) + 2 * (at.row[p] * (width_ + 1) + at.column[p]);
        __builtin_prefetch(top), __builtin_prefetch(top + 2 * at.row_step[p] * (width_ + 1));
        continue;
      }
      const std::int64_t top = view * n_pixels_ + at.row[p] * width_ + at.column[p];
      const std::int64_t bottom = top + at.row_step[p] * width_;
      if (masks_) __builtin_prefetch(masks_ + top), __builtin_prefetch(masks_ + bottom);
      if (depths_) __builtin_prefetch(depths_ + top), __builtin_prefetch(depths_ + bottom);
    }
  }

 private:
  void copy_pairs(int n_threads) {
    parallel_for(n_rows_, 64, n_threads, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        const T *mask = masks_ + r * width_, *depth = depths_ + r * width_;
        T* to = pairs_.get() + 2 * r * (width_ + 1);
#pragma omp simd
        for (std::int32_t i = 0; i < width_; ++i) to[2 * i] = mask[i], to[2 * i + 1] = depth[i];
        to[2 * width_] = mask[width_ - 1], to[2 * width_ + 1] = depth[width_ - 1];
      }
    });
  }

  const T* row(std::int64_t view) const { return pairs_.get() + 2 * view * (n_pixels_ / width_) * (width_ + 1); }

  void gather_pairs(const T* pairs, const TileView<T>& at, TileCorners<T>& mask, TileCorners<T>& depth) const {
    T top[4 * kTile], bottom[4 * kTile];
    std::int32_t top_at[kTile], bottom_at[kTile];
#pragma omp simd
    for (int p = 0; p < kTile; ++p) {
      top_at[p] = 2 * (at.row[p] * (width_ + 1) + at.column[p]);
      bottom_at[p] = top_at[p] + 2 * at.row_step[p] * (width_ + 1);
    }
    for (int p = 0; p < kTile; ++p) {
      __builtin_memcpy(top + 4 * p, pairs + top_at[p], 4 * sizeof(T));
      __builtin_memcpy(bottom + 4 * p, pairs + bottom_at[p], 4 * sizeof(T));
    }
    part(top, at.column_step, mask.p00, mask.p01, depth.p00, depth.p01);
    part(bottom, at.column_step, mask.p10, mask.p11, depth.p10, depth.p11);
  }

  // Beyond the border, where there is no step to a neighbour, the map is flat: its derivative there is 0.
  static void part(const T* rows, const std::int32_t* step, T* mask0, T* mask1, T* depth0, T* depth1) {
#pragma omp simd
    for (int p = 0; p < kTile; ++p) {
      const T m0 = rows[4 * p], d0 = rows[4 * p + 1], m1 = rows[4 * p + 2], d1 = rows[4 * p + 3];
      mask0[p] = m0, mask1[p] = step[p] ? m1 : m0;
      depth0[p] = d0, depth1[p] = step[p] ? d1 : d0;
    }
  }

  const T *masks_, *depths_;
  std::int32_t width_;
  std::int64_t n_pixels_, n_rows_;
  bool is_paired_;
  Scratch<T> pairs_;
};

}  // namespace uner3d::cpu
