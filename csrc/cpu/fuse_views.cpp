#include "../ops/fuse_views.h"

#include "../core/fuse_views.h"
#include "parallel.h"
#include "view_order.h"
#include "view_rows.h"
#include "view_tiles.h"

namespace uner3d::cpu {
namespace {
constexpr std::int64_t kTilesPerChunk = 8;

template <class T>
struct WeightedTap {
  Tap<T> tap;
  core::WelfordStep<T> step;
};

template <class Args>
auto view_weight(const Args& a, std::int64_t point, std::int64_t view) {
  using T = std::decay_t<decltype(*a.points)>;
  if (!a.view_weights) return T(1);
  const T w = a.view_weights[a.weights_per_point ? point * a.views.n_views + view : view];
  return w > T(0) ? w : T(0);  // negative and NaN count as zero
}

// Whether the result follows the weight: from zero it can only grow.
template <class Args>
bool follows_weight(const Args& a, std::int64_t point, std::int64_t view) {
  return !a.view_weights || a.view_weights[a.weights_per_point ? point * a.views.n_views + view : view] >= 0;
}

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

// The upstream gradient of a point; a missing part is a row of zeros.
template <class T>
struct GradRows {
  const T *mean, *grad_mean, *grad_var;
};

template <class T>
GradRows<T> grad_rows(const FuseViewsGradArgs<T>& a, const std::vector<T>& zeros, std::int64_t point) {
  const std::int64_t at = point * a.n_channels;
  return {a.mean + at, a.grad_mean ? a.grad_mean + at : zeros.data(), a.grad_var ? a.grad_var + at : zeros.data()};
}

template <class T>
void add_grad_maps(const FuseViewsGradArgs<T>& a, const std::vector<core::Camera<T>>& cameras,
                   const std::uint32_t* order, std::int64_t base, std::int64_t end, RowRange rows,
                   const std::vector<T>& zeros) {
  for_owned_taps(a.views, cameras, a.points, order, base, end, a.n_channels, rows,
                 [&](std::int64_t point, std::int64_t view, const Tap<T>& tap, bool first, bool second) {
    const T w = view_weight(a, point, view);
    if (w == T(0)) return;
    const T share = w / a.weight_sum[point];
    const GradRows<T> from = grad_rows(a, zeros, point);
    for_channel_blocks<T>(a.n_channels, [&](auto block, std::int64_t channel) {
      using B = decltype(block);
      using V = typename B::Vector;
      V g[B::kCount];
      for (int k = 0; k < B::kCount; ++k) {
        const std::int64_t c = channel + k * B::kWidth;
        g[k] = share * core::fuse_grad_sample(sample<V>(a.maps, tap, c), load<V>(from.mean + c),
                                              load<V>(from.grad_mean + c), load<V>(from.grad_var + c));
      }
      T* to = a.grad_maps + tap.offset + channel;
      if (first) add_to_row<B>(to, tap.step_column, tap.w[0], tap.w[1], g);
      if (second) add_to_row<B>(to + tap.step_row, tap.step_column, tap.w[2], tap.w[3], g);
    });
  });
}

// Sums over the channels of one point and view: derivative to the weight (times W) and to the pixel position.
template <class T>
struct ChannelSums {
  T weight, u, v;
};

template <class T>
ChannelSums<T> sum_channels(const FuseViewsGradArgs<T>& a, const Tap<T>& tap, T ax, T ay, const GradRows<T>& from,
                            const T* var) {
  ChannelSums<T> sums{0, 0, 0};
  for_channel_blocks<T>(a.n_channels, [&](auto block, std::int64_t channel) {
    using B = decltype(block);
    using V = typename B::Vector;
    V weight = {}, du = {}, dv = {};
    for (int k = 0; k < B::kCount; ++k) {
      const std::int64_t c = channel + k * B::kWidth;
      const auto at = load_corners<V>(a.maps, tap, c);
      const V x = core::bilinear(at.p00, at.p01, at.p10, at.p11, tap.w), mean = load<V>(from.mean + c);
      const V grad_mean = load<V>(from.grad_mean + c), grad_var = load<V>(from.grad_var + c);
      const V g = core::fuse_grad_sample(x, mean, grad_mean, grad_var);
      weight += core::fuse_grad_weight(x, mean, load<V>(var + c), grad_mean, grad_var);
      du += g * core::bilinear_du(at.p00, at.p01, at.p10, at.p11, ay);
      dv += g * core::bilinear_dv(at.p00, at.p01, at.p10, at.p11, ax);
    }
    sums.weight += sum_lanes<T>(weight);
    sums.u += sum_lanes<T>(du);
    sums.v += sum_lanes<T>(dv);
  });
  return sums;
}

// Gradients to the weights and positions of one tile of points; to shared weights they are added to `shared` (n_views).
template <class T>
void grad_tile(const FuseViewsGradArgs<T>& a, const std::vector<core::Camera<T>>& cameras, const PointTile<T>& tile,
               const std::vector<T>& zeros, double* shared) {
  TileView<T> at;
  T grad_points[kTile][3] = {};
  for (std::int64_t v = 0; v < a.views.n_views; ++v) {
    project_tile(cameras[v], a.views, tile, at);
    for (int p = 0; p < tile.n; ++p) {
      const std::int64_t point = tile.index[p];
      T grad_weight = 0;
      if (at.seen[p] && follows_weight(a, point, v)) {
        grad_weight = a.grad_weight_sum ? a.grad_weight_sum[point] : T(0);
        if (a.weight_sum[point] > T(0)) {
          const T inv_sum = T(1) / a.weight_sum[point], share = view_weight(a, point, v) * inv_sum;
          const auto sums = sum_channels(a, make_tap(at, p, v, a.views, a.n_channels), at.ax[p], at.ay[p],
                                         grad_rows(a, zeros, point), a.var + point * a.n_channels);
          grad_weight += inv_sum * sums.weight;
          core::project_backward(cameras[v], at.u[p], at.v[p], at.inv_z[p], share * sums.u, share * sums.v,
                                 grad_points[p]);
        }
      }
      if (shared) shared[v] += grad_weight;
      else if (a.grad_weights) a.grad_weights[point * a.views.n_views + v] = grad_weight;
    }
  }
  if (a.grad_points)
    for (int p = 0; p < tile.n; ++p) std::copy(grad_points[p], grad_points[p] + 3, a.grad_points + 3 * tile.index[p]);
}
}  // namespace

template <class T>
void fuse_views_forward(const FuseViewsArgs<T>& a, int n_threads) {
  const auto cameras = make_cameras(a.views);
  for_ordered_blocks(a.points, a.n_points, n_threads, [&](const std::uint32_t* order, std::int64_t base,
                                                          std::int64_t base_end) {
    parallel_for(base_end - base, kTilesPerChunk * kTile, n_threads, [&](std::int64_t begin, std::int64_t end) {
      std::vector<WeightedTap<T>> taps(static_cast<std::size_t>(kTile * a.views.n_views));
      PointTile<T> tile;
      std::int64_t counts[kTile];
      T sums[kTile];
      for (std::int64_t i = base + begin; i < base + end; i += kTile) {
        load_tile(a.points, order, base, i, base + end, tile);
        collect_taps(a, cameras, tile, taps.data(), counts, sums);
        for (int p = 0; p < tile.n; ++p) {
          const std::int64_t at = tile.index[p];
          a.weight_sum[at] = sums[p];
          fuse_point(a, taps.data() + p * a.views.n_views, counts[p], sums[p], a.mean + at * a.n_channels,
                     a.var + at * a.n_channels);
        }
      }
    });
  });
}

template <class T>
void fuse_views_backward(const FuseViewsGradArgs<T>& a, int n_threads) {
  constexpr std::int64_t kChunk = kTilesPerChunk * kTile;
  const auto cameras = make_cameras(a.views);
  const std::vector<T> zeros(static_cast<std::size_t>(a.n_channels), T(0));
  const std::int64_t n_shared = a.grad_weights && !a.weights_per_point ? a.views.n_views : 0;
  std::vector<double> shared(static_cast<std::size_t>(n_shared), 0.0);
  if (a.grad_maps) zero_fill(a.grad_maps, a.views.n_views * a.views.height * a.views.width * a.n_channels, n_threads);
  for_ordered_blocks(a.points, a.n_points, n_threads, [&](const std::uint32_t* order, std::int64_t base,
                                                          std::int64_t base_end) {
    if (a.grad_maps) {
      const auto ranges = balanced_rows(a.views, cameras, a.points, order, base, base_end, n_threads);
      parallel_for(static_cast<std::int64_t>(ranges.size()), 1, n_threads, [&](std::int64_t i, std::int64_t) {
        add_grad_maps(a, cameras, order, base, base_end, ranges[i], zeros);
      });
    }
    if (!a.grad_weights && !a.grad_points) return;
    // Shared weights: one sum per chunk, added up in the order of the chunks.
    std::vector<double> partial(static_cast<std::size_t>((base_end - base + kChunk - 1) / kChunk * n_shared), 0.0);
    parallel_for(base_end - base, kChunk, n_threads, [&](std::int64_t begin, std::int64_t end) {
      PointTile<T> tile;
      double* sums = n_shared ? partial.data() + begin / kChunk * n_shared : nullptr;
      for (std::int64_t i = base + begin; i < base + end; i += kTile) {
        load_tile(a.points, order, base, i, base + end, tile);
        grad_tile(a, cameras, tile, zeros, sums);
      }
    });
    for (std::size_t i = 0; i < partial.size(); ++i) shared[i % shared.size()] += partial[i];
  });
  for (std::int64_t v = 0; v < n_shared; ++v) a.grad_weights[v] = static_cast<T>(shared[v]);
}

template void fuse_views_forward<float>(const FuseViewsArgs<float>&, int);
template void fuse_views_forward<double>(const FuseViewsArgs<double>&, int);
template void fuse_views_backward<float>(const FuseViewsGradArgs<float>&, int);
template void fuse_views_backward<double>(const FuseViewsGradArgs<double>&, int);

}  // namespace uner3d::cpu
