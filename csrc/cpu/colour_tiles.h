// sample_views of maps with three channels, which are no vector: as if they had four.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../ops/sample_views.h"
#include "view_tiles.h"

namespace uner3d::cpu {

// Where the points of a tile fall in a map of three channels, pixels counted in numbers of a row-major map; points that
// are not seen fall on the first pixel whole.
template <class T>
struct ColourTaps {
  std::int32_t top[kTile], bottom[kTile], right[kTile];  // right: numbers from a pixel to its right neighbour
  T w00[kTile], w01[kTile], w10[kTile], w11[kTile];
  std::int32_t last;  // the pixel that lies farthest in the map
};

constexpr std::int32_t kColours = 3;

template <class T>
void find_colour_taps(const TileView<T>& at, std::int32_t width, ColourTaps<T>& out) {
  std::int32_t last = 0;
#pragma omp simd reduction(max : last)
  for (int p = 0; p < kTile; ++p) {
    const bool seen = at.seen[p] != 0;
    const std::int32_t top = at.row[p] * width + at.column[p], bottom = top + at.row_step[p] * width;
    out.top[p] = seen ? top : 0;
    out.bottom[p] = seen ? bottom : 0;
    out.right[p] = seen ? kColours * at.column_step[p] : 0;
    last = std::max(last, bottom + at.column_step[p]);
    const auto w = core::bilinear_weights(at.ax[p], at.ay[p]);
    out.w00[p] = w.w00, out.w01[p] = w.w01, out.w10[p] = w.w10, out.w11[p] = w.w11;
  }
  out.last = last;
}

// Values of one tile of points in one view of three channels, most often a photo's: four are read at each pixel and
// written, and what is one too many is overwritten by the next view. False where that would read beyond the maps.
template <class T>
bool sample_colour_tile(const SampleViewsArgs<T>& a, const PointTile<T>& tile, const TileView<T>& at,
                        std::int64_t view) {
  using V = typename Lanes<T, 4>::type;
  static constexpr T kZeros[4] = {};
  ColourTaps<T> taps;
  find_colour_taps(at, static_cast<std::int32_t>(a.views.width), taps);
  const std::int64_t n_pixels = a.views.height * a.views.width;
  const bool is_last_view = view + 1 == a.views.n_views;
  if (is_last_view && taps.last + 1 == n_pixels) return false;
  const T* const map = a.maps + view * n_pixels * kColours;
  std::int64_t to = tile.index[0] * a.views.n_views + view;  // points in the caller's order
  for (int p = 0; p < tile.n; ++p, to += a.views.n_views) {
    const T* const from = at.seen[p] ? map : kZeros;
    const T* const top = from + std::int64_t(kColours) * taps.top[p];
    const T* const bottom = from + std::int64_t(kColours) * taps.bottom[p];
    const std::int32_t right = taps.right[p];
    const core::BilinearWeights<T> w{taps.w00[p], taps.w01[p], taps.w10[p], taps.w11[p]};
    const V value = core::bilinear(load<V>(top), load<V>(top + right), load<V>(bottom), load<V>(bottom + right), w);
    T* const values = a.values + to * kColours;
    if (is_last_view)
      __builtin_memcpy(values, &value, kColours * sizeof(T));
    else
      store(values, value);
    a.valid[to] = at.seen[p] != 0;
  }
  return true;
}

}  // namespace uner3d::cpu
