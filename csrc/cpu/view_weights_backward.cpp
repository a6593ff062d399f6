#include "../ops/view_weights.h"
#include "parallel.h"
#include "tap_batch.h"
#include "view_order.h"
#include "view_tiles.h"
#include "weight_tiles.h"

namespace uner3d::cpu {
namespace {
// Gradients of a tile of points, summed over the views.
template <class T>
struct GradTile {
  T point[3][kTile] = {}, direction[3][kTile] = {};
};

// From the angle factor to the points and directions.
template <class T>
void add_grad_angle(const WeightTile<T>& w, const TileView<T>& at, const PointTile<T>& directions, const T* grad,
                    GradTile<T>& to) {
  const T* const ray[3] = {w.ray_x, w.ray_y, w.ray_z};
  const T* const target[3] = {directions.x, directions.y, directions.z};
  T slope[kTile];
#pragma omp simd
  for (int p = 0; p < kTile; ++p) slope[p] = grad[p] * w.mask[p] * w.visibility[p] * w.angle_slope[p];
  for (int k = 0; k < 3; ++k) {
#pragma omp simd
    for (int p = 0; p < kTile; ++p) {
      const T to_direction = slope[p] * ray[k][p];
      const T to_point = slope[p] * w.inv_length[p] * (target[k][p] - w.cosine[p] * ray[k][p]);
      to.direction[k][p] += at.seen[p] ? to_direction : T(0);
      to.point[k][p] += at.seen[p] ? to_point : T(0);
    }
  }
}

// Gradients of the sampled masks and depths of a tile, and of the depths of its points, 0 where not seen.
template <class T>
struct GradSamples {
  T mask[kTile], depth[kTile], z[kTile];
};

template <class T>
void grad_samples(const ViewWeightsGradArgs<T>& a, const WeightTile<T>& w, const TileView<T>& at, const T* grad,
                  GradSamples<T>& to) {
  const T inv_tolerance = T(1) / a.depth_tolerance;
  if (a.masks) {
#pragma omp simd
    for (int p = 0; p < kTile; ++p) {
      const T mask = grad[p] * w.angle[p] * w.visibility[p];
      to.mask[p] = at.seen[p] ? mask : T(0);
    }
  }
  if (a.depths) {
#pragma omp simd
    for (int p = 0; p < kTile; ++p) {
      const bool is_sloped = (w.known[p] > T(0)) & (w.ramp[p] >= T(0)) & (w.ramp[p] <= T(1));
      const T slope = grad[p] * w.angle[p] * w.mask[p] * inv_tolerance * w.inv_depth[p];
      const T depth = slope * at.z[p] * w.inv_depth[p];
      to.z[p] = at.seen[p] & is_sloped ? -slope : T(0);
      to.depth[p] = at.seen[p] & is_sloped ? depth : T(0);
    }
  }
}

// Adds the derivative of a one-channel sample along columns and rows, times the gradient of the sample.
template <class T>
void add_grad_pixel(const TileCorners<T>& c, const TileView<T>& at, const T* grad, T* grad_u, T* grad_v) {
#pragma omp simd
  for (int p = 0; p < kTile; ++p) {
    grad_u[p] += grad[p] * core::bilinear_du(c.p00[p], c.p01[p], c.p10[p], c.p11[p], at.ay[p]);
    grad_v[p] += grad[p] * core::bilinear_dv(c.p00[p], c.p01[p], c.p10[p], c.p11[p], at.ax[p]);
  }
}

// From the masks and depths at the pixels, and the depths of the points themselves, to the points.
template <class T>
void add_grad_maps_to_points(const ViewWeightsGradArgs<T>& a, const core::Camera<T>& camera, const WeightTile<T>& w,
                             const TileView<T>& at, const GradSamples<T>& from, GradTile<T>& to) {
  T grad_u[kTile] = {}, grad_v[kTile] = {}, grad_z[kTile] = {};
  if (a.masks) add_grad_pixel(w.mask_corners, at, from.mask, grad_u, grad_v);
  if (a.depths) {
    add_grad_pixel(w.depth_corners, at, from.depth, grad_u, grad_v);
    std::copy(from.z, from.z + kTile, grad_z);
  }
  for (int k = 0; k < 3; ++k) {
    const T p0 = camera.p[0][k], p1 = camera.p[1][k], p2 = camera.p[2][k];
#pragma omp simd
    for (int p = 0; p < kTile; ++p) {
      const T through_pixel = at.inv_z[p] * (grad_u[p] * (p0 - at.u[p] * p2) + grad_v[p] * (p1 - at.v[p] * p2));
      to.point[k][p] += at.seen[p] ? through_pixel + grad_z[p] * p2 : T(0);
    }
  }
}

// Leaves the gradients of the maps of a view that are wanted in `taps`, those of the masks first.
template <class T>
void leave_taps(const ViewWeightsGradArgs<T>& a, const PointTile<T>& tile, const TileView<T>& at,
                const GradSamples<T>& from, TapTile<T>& taps) {
  const T* const grads[2] = {a.grad_masks ? from.mask : from.depth,
                             a.grad_masks && a.grad_depths ? from.depth : nullptr};
  for (int m = 0; m < 2; ++m) {
    std::fill(taps.grad[m], taps.grad[m] + kTile, T(0));
    if (grads[m]) std::copy(grads[m], grads[m] + tile.n, taps.grad[m]);
  }
  note_taps(at, static_cast<std::int32_t>(a.views.width), taps);
}

// All gradients of one tile but those of the maps, which are left in the places that taps(view) gives, unless null.
// `grad` (n_views, kTile) is scratch.
template <class T, class Taps, class Next>
void grad_tile(const ViewWeightsGradArgs<T>& a, const WeightMaps<T>& maps, const std::vector<core::Camera<T>>& cameras,
               const PointTile<T>& tile, const PointTile<T>& directions, const Taps& taps, const Next& next, T* grad) {
  WeightTile<T> w;
  GradSamples<T> samples;
  GradTile<T> out;
  const std::int64_t n_views = a.views.n_views;
  for (int p = 0; p < kTile; ++p)
    for (std::int64_t v = 0; v < n_views; ++v) grad[v * kTile + p] = a.grad_weights[tile.index[p] * n_views + v];
  const auto grad_view = [&](std::int64_t v, const TileView<T>& at) {
    weigh(a, maps, cameras[v], v, tile, directions, at, w);
    grad_samples(a, w, at, grad + v * kTile, samples);
    if (TapTile<T>* const to = taps(v)) leave_taps(a, tile, at, samples, *to);
    if (a.directions && (a.grad_points || a.grad_directions)) add_grad_angle(w, at, directions, grad + v * kTile, out);
    if (a.grad_points && (a.masks || a.depths)) add_grad_maps_to_points(a, cameras[v], w, at, samples, out);
  };
  const auto grad_none = [&](std::int64_t v) {
    if (TapTile<T>* const to = taps(v)) to->n = 0;
  };
  for_views(a, maps, cameras, tile, next, grad_view, grad_none);
  for (int p = 0; p < tile.n; ++p)
    for (int k = 0; k < 3; ++k) {
      if (a.grad_points) a.grad_points[3 * tile.index[p] + k] = out.point[k][p];
      if (a.grad_directions) a.grad_directions[3 * tile.index[p] + k] = out.direction[k][p];
    }
}

// `batch`: where the tiles leave the gradients of the maps, null where those are not wanted; flush(n) adds n tiles.
template <class T, class Flush>
void grad_points(const ViewWeightsGradArgs<T>& a, int n_threads, TapBatch<T>* batch, const Flush& flush) {
  const auto cameras = make_cameras(a.views);
  const WeightMaps<T> maps(a, n_threads);
  const std::int64_t n_views = a.views.n_views;
  const auto grad_batch = [&](const std::uint32_t* order, std::int64_t base, std::int64_t first, std::int64_t last) {
    const std::int64_t n_tiles = (last - first + kTile - 1) / kTile;
    const std::int64_t share = std::max<std::int64_t>(1, n_tiles / (2 * std::max(n_threads, 1)));
    parallel_for(
        last - first, std::min(share, kTilesPerChunk) * kTile, n_threads, [&](std::int64_t begin, std::int64_t end) {
          std::vector<T> grad(static_cast<std::size_t>(n_views * kTile));
          std::int64_t place = begin / kTile;  // of the tile in the batch
          const auto use = [&](const PointTile<T>& tile, const PointTile<T>& directions, const auto& next) {
            const auto taps = [&](std::int64_t view) { return batch ? &batch->at(place, view) : nullptr; };
            grad_tile(a, maps, cameras, tile, directions, taps, next, grad.data());
            ++place;
          };
          for_weight_tiles(a, order, base, first + begin, first + end, use, PointRows<T>{a.grad_weights, n_views},
                           PointRows<T>{a.grad_points, 3}, PointRows<T>{a.grad_directions, 3});
        });
    flush(n_tiles);
  };
  const auto grad_block = [&](const std::uint32_t* order, std::int64_t base, std::int64_t end) {
    const std::int64_t step = batch ? batch->n_points() : end - base;
    for (std::int64_t i = base; i < end; i += step) grad_batch(order, base, i, std::min(end, i + step));
  };
  for_ordered_blocks(a.points, a.n_points, n_threads, grad_block, kWeightRun);
}

template <class T, int kMaps>
void grad_maps(const ViewWeightsGradArgs<T>& a, T* const (&to)[kMaps], int n_threads) {
  TapBatch<T> batch(a.views, a.n_points, n_threads);
  const TapSums<T, kMaps> sums(a.views, n_threads);
  grad_points(a, n_threads, &batch, [&](std::int64_t n_tiles) { batch.add_to(sums, n_tiles, n_threads); });
  sums.write(to, n_threads);
}
}  // namespace

template <class T>
void view_weights_backward(const ViewWeightsGradArgs<T>& a, int n_threads) {
  if (a.grad_masks && a.grad_depths) return grad_maps<T, 2>(a, {a.grad_masks, a.grad_depths}, n_threads);
  if (a.grad_masks || a.grad_depths)
    return grad_maps<T, 1>(a, {a.grad_masks ? a.grad_masks : a.grad_depths}, n_threads);
  grad_points<T>(a, n_threads, nullptr, [](std::int64_t) {});
}

template void view_weights_backward<float>(const ViewWeightsGradArgs<float>&, int);
template void view_weights_backward<double>(const ViewWeightsGradArgs<double>&, int);

}  // namespace uner3d::cpu
