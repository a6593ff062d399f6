#include "../ops/view_weights.h"

#include "memory.h"
#include "parallel.h"
#include "view_order.h"
#include "view_tiles.h"
#include "weight_tiles.h"

namespace uner3d::cpu {
namespace {
// Weights of the points of a tile that is seen in view number `view`.
template <class T>
void weigh_tile(const ViewWeightsArgs<T>& a, const WeightMaps<T>& maps, const core::Camera<T>& camera,
                std::int64_t view, const PointTile<T>& tile, const PointTile<T>& directions, const TileView<T>& at,
                T* weights) {
  WeightTile<T> w;
  weigh(a, maps, camera, view, tile, directions, at, w);
#pragma omp simd
  for (int p = 0; p < kTile; ++p) {
    const T weight = w.angle[p] * w.mask[p] * w.visibility[p];
    weights[p] = at.seen[p] ? weight : T(0);
  }
}
}  // namespace

template <class T>
void view_weights_forward(const ViewWeightsArgs<T>& a, int n_threads) {
  const auto cameras = make_cameras(a.views);
  const WeightMaps<T> maps(a, n_threads);
  const std::int64_t n_views = a.views.n_views;
  prefer_huge_pages(a.weights, static_cast<std::size_t>(a.n_points * n_views) * sizeof(T));
  const auto weigh_block = [&](const std::uint32_t* order, std::int64_t base, std::int64_t base_end) {
    parallel_for(base_end - base, kTilesPerChunk * kTile, n_threads, [&](std::int64_t begin, std::int64_t end) {
      std::vector<T> weights(static_cast<std::size_t>(n_views * kTile));  // of a tile, view by view
      const auto use = [&](const PointTile<T>& tile, const PointTile<T>& directions, const auto& next) {
        const auto weigh_view = [&](std::int64_t v, const TileView<T>& at) {
          weigh_tile(a, maps, cameras[v], v, tile, directions, at, weights.data() + v * kTile);
        };
        const auto weigh_none = [&](std::int64_t v) { std::fill_n(weights.data() + v * kTile, kTile, T(0)); };
        for_views(a, maps, cameras, tile, next, weigh_view, weigh_none);
        for (int p = 0; p < tile.n; ++p)
          for (std::int64_t v = 0; v < n_views; ++v) a.weights[tile.index[p] * n_views + v] = weights[v * kTile + p];
      };
      for_weight_tiles(a, order, base, base + begin, base + end, use, PointRows<T>{a.weights, n_views});
    });
  };
  for_ordered_blocks(a.points, a.n_points, n_threads, weigh_block, kWeightRun);
}

template void view_weights_forward<float>(const ViewWeightsArgs<float>&, int);
template void view_weights_forward<double>(const ViewWeightsArgs<double>&, int);

}  // namespace uner3d::cpu
