#include "../core/fuse_views.h"
#include "../ops/fuse_views.h"
#include "fuse_weights.h"
#include "parallel.h"
#include "view_order.h"
#include "view_rows.h"
#include "view_tiles.h"

namespace uner3d::cpu {
namespace {
constexpr std::int64_t kChunk = 8 * kTile;  // points; fixed, so that sums do not depend on the thread count

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

// Asks for all that the backward reads of a point, whichever the view.
template <class T>
void fetch_point(const FuseViewsGradArgs<T>& a, const std::vector<T>& zeros, std::int64_t point) {
  const GradRows<T> rows = grad_rows(a, zeros, point);
  prefetch(rows.mean, a.n_channels);
  prefetch(rows.grad_mean, a.n_channels);
  prefetch(rows.grad_var, a.n_channels);
  prefetch(a.weight_sum + point, 1);
  if (a.view_weights && a.weights_per_point) prefetch(a.view_weights + point * a.views.n_views, a.views.n_views);
}

// Adds the gradient of one sample to the rows of its map that the thread owns.
template <class T>
inline __attribute__((always_inline)) void add_grad_sample(const FuseViewsGradArgs<T>& a, const GradRows<T>& from,
                                                           T share, const Tap<T>& tap, Owned owned) {
  for_channel_blocks<T>(a.n_channels, [&](auto block, std::int64_t channel) {
    using B = decltype(block);
    using V = typename B::Vector;
    V g[B::kCount];
    for (int k = 0; k < B::kCount; ++k) {
      const std::int64_t c = channel + k * B::kWidth;
      g[k] = share * core::fuse_grad_sample(sample<V>(a.maps, tap, c), load<V>(from.mean + c),
                                            load<V>(from.grad_mean + c), load<V>(from.grad_var + c));
    }
    add_to_owned<B>(a.grad_maps + channel, tap, owned, g);
  });
}

template <class T>
void add_grad_maps(const FuseViewsGradArgs<T>& a, const std::vector<core::Camera<T>>& cameras,
                   const std::uint32_t* order, std::int64_t base, std::int64_t end, RowRange rows,
                   const std::vector<T>& zeros) {
  const auto fetch_rows = [&](std::int64_t point) { fetch_point(a, zeros, point); };
  const auto fetch_pixels = [&](const Tap<T>& tap) {
    prefetch_tap(a.maps, tap, a.n_channels);
    prefetch_tap(a.grad_maps, tap, a.n_channels);
  };
  const auto add = [&](std::int64_t point, std::int64_t view, const Tap<T>& tap, Owned owned) {
    const T w = view_weight(a, point, view);
    if (w != T(0)) add_grad_sample(a, grad_rows(a, zeros, point), w / a.weight_sum[point], tap, owned);
  };
  for_owned_taps(a.views, cameras, a.points, order, base, end, a.n_channels, rows, fetch_rows, fetch_pixels, add);
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
  SeenTaps<T> seen;
  T grad_points[kTile][3] = {};
  for (std::int64_t v = 0; v < a.views.n_views; ++v) {
    T grad_weights[kTile] = {};
    project_tile(cameras[v], a.views, tile, at);
    seen_taps(tile, at, v, a.views, a.n_channels, seen);
    const auto fetch = [&](const Tap<T>& tap) { prefetch_tap(a.maps, tap, a.n_channels); };
    for_seen(seen, fetch, [&](int p, const Tap<T>& tap) {
      const std::int64_t point = tile.index[p];
      if (!follows_weight(a, point, v)) return;
      grad_weights[p] = a.grad_weight_sum ? a.grad_weight_sum[point] : T(0);
      if (!(a.weight_sum[point] > T(0))) return;
      const T inv_sum = T(1) / a.weight_sum[point], share = view_weight(a, point, v) * inv_sum;
      const auto sums =
          sum_channels(a, tap, at.ax[p], at.ay[p], grad_rows(a, zeros, point), a.var + point * a.n_channels);
      grad_weights[p] += inv_sum * sums.weight;
      core::project_backward(cameras[v], at.u[p], at.v[p], at.inv_z[p], share * sums.u, share * sums.v, grad_points[p]);
    });
    for (int p = 0; p < tile.n; ++p) {
      if (shared)
        shared[v] += grad_weights[p];
      else if (a.grad_weights)
        a.grad_weights[tile.index[p] * a.views.n_views + v] = grad_weights[p];
    }
  }
  if (a.grad_points)
    for (int p = 0; p < tile.n; ++p) std::copy(grad_points[p], grad_points[p] + 3, a.grad_points + 3 * tile.index[p]);
}

// Gradients to the weights and positions of the points base..base_end; shared weights get one sum per chunk, and these
// are added up in the order of the chunks.
template <class T>
void grad_points(const FuseViewsGradArgs<T>& a, const std::vector<core::Camera<T>>& cameras, const std::uint32_t* order,
                 std::int64_t base, std::int64_t base_end, const std::vector<T>& zeros, int n_threads,
                 std::vector<double>& shared) {
  const std::int64_t n_chunks = (base_end - base + kChunk - 1) / kChunk, n_shared = shared.size();
  std::vector<double> partial(static_cast<std::size_t>(n_chunks * n_shared), 0.0);
  const auto fetch = [&](std::int64_t point) {
    fetch_point(a, zeros, point);
    prefetch(a.var + point * a.n_channels, a.n_channels);
  };
  parallel_for(base_end - base, kChunk, n_threads, [&](std::int64_t begin, std::int64_t end) {
    double* sums = n_shared ? partial.data() + begin / kChunk * n_shared : nullptr;
    for_tiles(a.points, order, base, base + begin, base + end, fetch,
              [&](const PointTile<T>& tile) { grad_tile(a, cameras, tile, zeros, sums); });
  });
  for (std::size_t i = 0; i < partial.size(); ++i) shared[i % shared.size()] += partial[i];
}
}  // namespace

template <class T>
void fuse_views_backward(const FuseViewsGradArgs<T>& a, int n_threads) {
  const auto cameras = make_cameras(a.views);
  const std::vector<T> zeros(static_cast<std::size_t>(a.n_channels), T(0));
  const bool is_shared = a.grad_weights && !a.weights_per_point;
  std::vector<double> shared(static_cast<std::size_t>(is_shared ? a.views.n_views : 0), 0.0);
  if (a.grad_maps) zero_fill(a.grad_maps, a.views.n_views * a.views.height * a.views.width * a.n_channels, n_threads);
  const auto grad_block = [&](const std::uint32_t* order, std::int64_t base, std::int64_t end) {
    if (a.grad_maps) {
      const auto ranges = balanced_rows(a.views, cameras, a.points, order, base, end, n_threads);
      parallel_for(static_cast<std::int64_t>(ranges.size()), 1, n_threads, [&](std::int64_t i, std::int64_t) {
        add_grad_maps(a, cameras, order, base, end, ranges[i], zeros);
      });
    }
    if (a.grad_weights || a.grad_points) grad_points(a, cameras, order, base, end, zeros, n_threads, shared);
  };
  for_ordered_blocks(a.points, a.n_points, n_threads, grad_block);
  for (std::size_t v = 0; v < shared.size(); ++v) a.grad_weights[v] = static_cast<T>(shared[v]);
}

template void fuse_views_backward<float>(const FuseViewsGradArgs<float>&, int);
template void fuse_views_backward<double>(const FuseViewsGradArgs<double>&, int);

}  // namespace uner3d::cpu
