#include "../ops/sample_views.h"

#include "colour_tiles.h"
#include "grey_tiles.h"
#include "memory.h"
#include "parallel.h"
#include "view_rows.h"
#include "view_tiles.h"

namespace uner3d::cpu {
namespace {
constexpr std::int64_t kTilesPerChunk = 8;

// Values of one tile of points in one view.
template <class T>
void sample_tile(const SampleViewsArgs<T>& a, const PointTile<T>& tile, const TileView<T>& at, std::int64_t view) {
  for (int p = 0; p < tile.n; ++p) {
    const std::int64_t to = tile.index[p] * a.views.n_views + view;
    T* values = a.values + to * a.n_channels;
    a.valid[to] = at.seen[p] != 0;
    if (!at.seen[p]) {
      std::fill(values, values + a.n_channels, T(0));
      continue;
    }
    sample_into(a.maps, make_tap(at, p, view, a.views, a.n_channels), a.n_channels, values);
  }
}

// Derivative of one sample to its pixel position: sums over the channels, (u, v).
template <class T>
void sum_channels(const SampleViewsGradArgs<T>& a, const Tap<T>& tap, T ax, T ay, const T* grad, T* sums) {
  for_channel_blocks<T>(a.n_channels, [&](auto block, std::int64_t channel) {
    using B = decltype(block);
    using V = typename B::Vector;
    V du = {}, dv = {};
    for (int k = 0; k < B::kCount; ++k) {
      const std::int64_t c = channel + k * B::kWidth;
      const auto at = load_corners<V>(a.maps, tap, c);
      const V g = load<V>(grad + c);
      du += g * core::bilinear_du(at.p00, at.p01, at.p10, at.p11, ay);
      dv += g * core::bilinear_dv(at.p00, at.p01, at.p10, at.p11, ax);
    }
    sums[0] += sum_lanes<T>(du);
    sums[1] += sum_lanes<T>(dv);
  });
}

template <class T>
void add_grad_maps(const SampleViewsGradArgs<T>& a, const std::vector<core::Camera<T>>& cameras, RowRange rows) {
  const auto fetch_nothing = [](std::int64_t) {};  // gradients come in the order of the points
  const auto fetch_pixels = [&](const Tap<T>& tap) { prefetch_tap(a.grad_maps, tap, a.n_channels); };
  const auto add = [&](std::int64_t point, std::int64_t view, const Tap<T>& tap, Owned owned) {
    const T* from = a.grad_values + (point * a.views.n_views + view) * a.n_channels;
    for_channel_blocks<T>(a.n_channels, [&](auto block, std::int64_t channel) {
      using B = decltype(block);
      typename B::Vector g[B::kCount];
      for (int k = 0; k < B::kCount; ++k) g[k] = load<typename B::Vector>(from + channel + k * B::kWidth);
      add_to_owned<B>(a.grad_maps + channel, tap, owned, g);
    });
  };
  for_owned_taps(a.views, cameras, a.points, nullptr, 0, a.n_points, a.n_channels, rows, fetch_nothing, fetch_pixels,
                 add);
}

template <class T>
void grad_points_tile(const SampleViewsGradArgs<T>& a, const std::vector<core::Camera<T>>& cameras,
                      const PointTile<T>& tile) {
  TileView<T> at;
  T grad[kTile][3] = {};
  for (std::int64_t v = 0; v < a.views.n_views; ++v) {
    project_tile(cameras[v], a.views, tile, at);
    for (int p = 0; p < tile.n; ++p) {
      if (!at.seen[p]) continue;
      T sums[2] = {};
      sum_channels(a, make_tap(at, p, v, a.views, a.n_channels), at.ax[p], at.ay[p],
                   a.grad_values + (tile.index[p] * a.views.n_views + v) * a.n_channels, sums);
      core::project_backward(cameras[v], at.u[p], at.v[p], at.inv_z[p], sums[0], sums[1], grad[p]);
    }
  }
  for (int p = 0; p < tile.n; ++p) std::copy(grad[p], grad[p] + 3, a.grad_points + 3 * tile.index[p]);
}
}  // namespace

template <class T>
void sample_views_forward(const SampleViewsArgs<T>& a, int n_threads) {
  const auto cameras = make_cameras(a.views);
  const bool any_pixel = a.views.height * a.views.width > 0;
  const auto [least_side, most_side] = std::minmax(a.views.width, a.views.height);
  const bool grey = a.n_channels == 1 && a.views.n_views > 0 && least_side > 1 && most_side <= kMostGreyPixels;
  const bool colour = a.n_channels == 3 && any_pixel;
  constexpr bool kFitsVector = 4 * sizeof(T) <= kVectorBytes;
  prefer_huge_pages(a.values, static_cast<std::size_t>(a.n_points * a.views.n_views * a.n_channels) * sizeof(T));
  parallel_for(a.n_points, kTilesPerChunk * kTile, n_threads, [&](std::int64_t begin, std::int64_t end) {
    if (grey) return sample_grey(a, cameras, begin, end);
    PointTile<T> tile;
    TileView<T> at;
    for (std::int64_t i = begin; i < end; i += kTile) {
      load_tile(a.points, nullptr, 0, i, end, tile);
      for (std::int64_t v = 0; v < a.views.n_views; ++v) {
        project_tile(cameras[v], a.views, tile, at);
        bool done = false;
        if constexpr (kFitsVector) done = colour && sample_colour_tile(a, tile, at, v);
        if (!done) sample_tile(a, tile, at, v);
      }
    }
  });
}

template <class T>
void sample_views_backward(const SampleViewsGradArgs<T>& a, int n_threads) {
  const auto cameras = make_cameras(a.views);
  if (a.grad_maps) {
    zero_fill(a.grad_maps, a.views.n_views * a.views.height * a.views.width * a.n_channels, n_threads);
    const auto ranges = balanced_rows(a.views, cameras, a.points, nullptr, 0, a.n_points, n_threads);
    parallel_for(static_cast<std::int64_t>(ranges.size()), 1, n_threads,
                 [&](std::int64_t i, std::int64_t) { add_grad_maps(a, cameras, ranges[i]); });
  }
  if (!a.grad_points) return;
  parallel_for(a.n_points, kTilesPerChunk * kTile, n_threads, [&](std::int64_t begin, std::int64_t end) {
    PointTile<T> tile;
    for (std::int64_t i = begin; i < end; i += kTile) {
      load_tile(a.points, nullptr, 0, i, end, tile);
      grad_points_tile(a, cameras, tile);
    }
  });
}

template void sample_views_forward<float>(const SampleViewsArgs<float>&, int);
template void sample_views_forward<double>(const SampleViewsArgs<double>&, int);
template void sample_views_backward<float>(const SampleViewsGradArgs<float>&, int);
template void sample_views_backward<double>(const SampleViewsGradArgs<double>&, int);

}  // namespace uner3d::cpu
