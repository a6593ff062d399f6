#include "../ops/fuse_views.h"

#include "../core/fuse_views.h"
#include "fuse_weights.h"
#include "memory.h"
#include "parallel.h"
#include "view_order.h"
#include "view_tiles.h"

namespace uner3d::cpu {
namespace {
constexpr std::int64_t kTilesPerChunk = 8;

template <class T>
struct WeightedTap {
  Tap<T> tap;
  core::WelfordStep<T> step;
};

// The taps of the points of a tile in the views that see them with a positive weight: counts[p] of them from
// taps[p * n_views] on; and the sums of the weights.
template <class T>
void collect_taps(const FuseViewsArgs<T>& a, const std::vector<core::Camera<T>>& cameras, const PointTile<T>& tile,
                  WeightedTap<T>* taps, std::int64_t* counts, T* sums) {
  TileView<T> at;
  std::fill(counts, counts + kTile, 0);
  std::fill(sums, sums + kTile, T(0));
  for (std::int64_t v = 0; v < a.views.n_views; ++v) {
    project_tile(cameras[v], a.views, tile, at);
    for (int p = 0; p < tile.n; ++p) {
      if (!at.seen[p]) continue;
      const T w = view_weight(a, tile.index[p], v);
      if (w == T(0)) continue;
      taps[p * a.views.n_views + counts[p]++] = {make_tap(at, p, v, a.views, a.n_channels),
                                                 core::welford_step(w, sums[p])};
      sums[p] += w;
    }
  }
}

template <class T>
void fetch_taps(const FuseViewsArgs<T>& a, const WeightedTap<T>* taps, std::int64_t n_taps) {
  for (std::int64_t i = 0; i < n_taps; ++i) prefetch_tap(a.maps, taps[i].tap, a.n_channels);
}

template <class T>
void fuse_point(const FuseViewsArgs<T>& a, const WeightedTap<T>* taps, std::int64_t n_taps, T sum, T* mean_out,
                T* var_out) {
  const T inv_sum = sum > T(0) ? T(1) / sum : T(0);
  for_channel_blocks<T>(a.n_channels, [&](auto block, std::int64_t channel) {
    using B = decltype(block);
    using V = typename B::Vector;
    V mean[B::kCount] = {}, m2[B::kCount] = {};
    for (std::int64_t i = 0; i < n_taps; ++i)
      for (int k = 0; k < B::kCount; ++k)
        core::welford_add(sample<V>(a.maps, taps[i].tap, channel + k * B::kWidth), taps[i].step, mean[k], m2[k]);
    for (int k = 0; k < B::kCount; ++k) {
      store(mean_out + channel + k * B::kWidth, mean[k]);
      store(var_out + channel + k * B::kWidth, V(m2[k] * inv_sum));
    }
  });
}

// Fuses the points of one tile; the pixels of the next point are fetched while one is worked on.
template <class T>
void fuse_tile(const FuseViewsArgs<T>& a, const std::vector<core::Camera<T>>& cameras, const PointTile<T>& tile,
               WeightedTap<T>* taps) {
  std::int64_t counts[kTile];
  T sums[kTile];
  collect_taps(a, cameras, tile, taps, counts, sums);
  fetch_taps(a, taps, counts[0]);
  for (int p = 0; p < tile.n; ++p, taps += a.views.n_views) {
    if (p + 1 < tile.n) fetch_taps(a, taps + a.views.n_views, counts[p + 1]);
    const std::int64_t point = tile.index[p];
    a.weight_sum[point] = sums[p];
    fuse_point(a, taps, counts[p], sums[p], a.mean + point * a.n_channels, a.var + point * a.n_channels);
  }
}
}  // namespace

template <class T>
void fuse_views_forward(const FuseViewsArgs<T>& a, int n_threads) {
  const auto cameras = make_cameras(a.views);
  prefer_huge_pages(a.mean, static_cast<std::size_t>(a.n_points * a.n_channels) * sizeof(T));
  prefer_huge_pages(a.var, static_cast<std::size_t>(a.n_points * a.n_channels) * sizeof(T));
  const auto fuse = [&](const std::uint32_t* order, std::int64_t base, std::int64_t base_end) {
    parallel_for(base_end - base, kTilesPerChunk * kTile, n_threads, [&](std::int64_t begin, std::int64_t end) {
      std::vector<WeightedTap<T>> taps(static_cast<std::size_t>(kTile * a.views.n_views));
      PointTile<T> tile;
      for (std::int64_t i = base + begin; i < base + end; i += kTile) {
        load_tile(a.points, order, base, i, base + end, tile);
        fuse_tile(a, cameras, tile, taps.data());
      }
    });
  };
  for_ordered_blocks(a.points, a.n_points, n_threads, fuse);
}

template void fuse_views_forward<float>(const FuseViewsArgs<float>&, int);
template void fuse_views_forward<double>(const FuseViewsArgs<double>&, int);

}  // namespace uner3d::cpu
