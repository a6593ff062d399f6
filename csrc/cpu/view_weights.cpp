#include "../ops/view_weights.h"

#include "parallel.h"
#include "view_order.h"
#include "view_rows.h"
#include "view_tiles.h"
#include "weight_tiles.h"

namespace uner3d::cpu {
namespace {
constexpr std::int64_t kTilesPerChunk = 16;

// Calls f(tile, directions) over the points base..base_end; the directions, where given, lie in a tile of their own.
template <class Args, class F>
void for_weight_tiles(const Args& a, const std::uint32_t* order, std::int64_t base, std::int64_t base_end,
                      int n_threads, const F& f) {
  using T = std::decay_t<decltype(*a.points)>;
  parallel_for(base_end - base, kTilesPerChunk * kTile, n_threads, [&](std::int64_t begin, std::int64_t end) {
    PointTile<T> tile, directions{};
    for (std::int64_t i = base + begin; i < base + end; i += kTile) {
      load_tile(a.points, order, base, i, base + end, tile);
      if (a.directions) load_like(a.directions, tile, directions);
      f(tile, directions);
    }
  });
}

template <class T>
void weigh_tile(const ViewWeightsArgs<T>& a, const core::Camera<T>& camera, std::int64_t view, const PointTile<T>& tile,
                const PointTile<T>& directions) {
  TileView<T> at;
  WeightTile<T> w;
  T weights[kTile] = {};
  project_tile(camera, a.views, tile, at);
  if (any_seen(tile, at)) {
    weigh(a, camera, view, tile, directions, at, w);
#pragma omp simd
    for (int p = 0; p < kTile; ++p) {
      const T weight = w.angle[p] * w.mask[p] * w.visibility[p];
      weights[p] = at.seen[p] ? weight : T(0);
    }
  }
  for (int p = 0; p < tile.n; ++p) a.weights[tile.index[p] * a.views.n_views + view] = weights[p];
}

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
  for (int k = 0; k < 3; ++k) {
#pragma omp simd
    for (int p = 0; p < kTile; ++p) {
      const T slope = grad[p] * w.mask[p] * w.visibility[p] * w.angle_slope[p];
      const T to_direction = slope * ray[k][p];
      const T to_point = slope * w.inv_length[p] * (target[k][p] - w.cosine[p] * ray[k][p]);
      to.direction[k][p] += at.seen[p] ? to_direction : T(0);
      to.point[k][p] += at.seen[p] ? to_point : T(0);
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

// Gradients of the sampled masks and depths of a tile.
template <class T>
void grad_samples(const ViewWeightsGradArgs<T>& a, const WeightTile<T>& w, const T* grad, T* grad_mask, T* grad_depth) {
  if (a.masks)
    for (int p = 0; p < kTile; ++p) grad_mask[p] = grad[p] * w.angle[p] * w.visibility[p];
  if (a.depths)
    for (int p = 0; p < kTile; ++p) grad_depth[p] = grad[p] * w.angle[p] * w.mask[p] * w.depth_slope[p];
}

// From the masks and depths at the pixels, and the depths of the points themselves, to the points.
template <class T>
void add_grad_maps_to_points(const ViewWeightsGradArgs<T>& a, const core::Camera<T>& camera, const WeightTile<T>& w,
                             const TileView<T>& at, const T* grad, GradTile<T>& to) {
  T grad_mask[kTile], grad_depth[kTile], grad_u[kTile] = {}, grad_v[kTile] = {}, grad_z[kTile] = {};
  grad_samples(a, w, grad, grad_mask, grad_depth);
  if (a.masks) add_grad_pixel(w.mask_corners, at, grad_mask, grad_u, grad_v);
  if (a.depths) {
    add_grad_pixel(w.depth_corners, at, grad_depth, grad_u, grad_v);
    for (int p = 0; p < kTile; ++p) grad_z[p] = grad[p] * w.angle[p] * w.mask[p] * w.z_slope[p];
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

// The upstream gradient of a tile in one view, zero where the view does not see the point.
template <class T>
void load_grad(const ViewWeightsGradArgs<T>& a, const PointTile<T>& tile, const TileView<T>& at, std::int64_t view,
               T* grad) {
  std::fill(grad, grad + kTile, T(0));
  for (int p = 0; p < tile.n; ++p)
    if (at.seen[p]) grad[p] = a.grad_weights[tile.index[p] * a.views.n_views + view];
}

template <class T>
void grad_points(const ViewWeightsGradArgs<T>& a, const std::vector<core::Camera<T>>& cameras, const PointTile<T>& tile,
                 const PointTile<T>& directions) {
  TileView<T> at;
  WeightTile<T> w;
  GradTile<T> out;
  T grad[kTile];
  for (std::int64_t v = 0; v < a.views.n_views; ++v) {
    project_tile(cameras[v], a.views, tile, at);
    if (!any_seen(tile, at)) continue;
    load_grad(a, tile, at, v, grad);
    weigh(a, cameras[v], v, tile, directions, at, w);
    if (a.directions) add_grad_angle(w, at, directions, grad, out);
    if (a.masks || a.depths) add_grad_maps_to_points(a, cameras[v], w, at, grad, out);
  }
  for (int p = 0; p < tile.n; ++p)
    for (int k = 0; k < 3; ++k) {
      if (a.grad_points) a.grad_points[3 * tile.index[p] + k] = out.point[k][p];
      if (a.grad_directions) a.grad_directions[3 * tile.index[p] + k] = out.direction[k][p];
    }
}

template <class T>
void grad_maps(const ViewWeightsGradArgs<T>& a, const std::vector<core::Camera<T>>& cameras, const std::uint32_t* order,
               std::int64_t base, std::int64_t end, RowRange rows) {
  WeightTile<T> w;
  PointTile<T> directions{};
  T grad[kTile], grad_mask[kTile], grad_depth[kTile];
  const auto add = [&](const PointTile<T>& tile, const TileView<T>& at, std::int64_t view) {
    if (!any_seen(tile, at)) return;
    if (a.directions) load_like(a.directions, tile, directions);
    load_grad(a, tile, at, view, grad);
    weigh(a, cameras[view], view, tile, directions, at, w);
    grad_samples(a, w, grad, grad_mask, grad_depth);
    for (int p = 0; p < tile.n; ++p) {
      if (!at.seen[p]) continue;
      const Tap<T> tap = make_tap(at, p, view, a.views, 1);
      if (a.grad_masks)
        add_to_owned<Block<T, 1, 1>>(a.grad_masks, tap, rows.owned(at, p, view, a.views), grad_mask + p);
      if (a.grad_depths)
        add_to_owned<Block<T, 1, 1>>(a.grad_depths, tap, rows.owned(at, p, view, a.views), grad_depth + p);
    }
  };
  const auto fetch = [&](std::int64_t point) {
    prefetch(a.grad_weights + point * a.views.n_views, a.views.n_views);
    if (a.directions) prefetch(a.directions + 3 * point, 3);
  };
  for_owned_tiles(a.views, cameras, a.points, order, base, end, rows, fetch, add);
}
}  // namespace

template <class T>
void view_weights_forward(const ViewWeightsArgs<T>& a, int n_threads) {
  const auto cameras = make_cameras(a.views);
  const auto use = [&](const PointTile<T>& tile, const PointTile<T>& directions) {
    for (std::int64_t v = 0; v < a.views.n_views; ++v) weigh_tile(a, cameras[v], v, tile, directions);
  };
  for_ordered_blocks(a.points, a.n_points, n_threads,
                     [&](const std::uint32_t* order, std::int64_t base, std::int64_t end) {
                       for_weight_tiles(a, order, base, end, n_threads, use);
                     });
}

template <class T>
void view_weights_backward(const ViewWeightsGradArgs<T>& a, int n_threads) {
  const auto cameras = make_cameras(a.views);
  const std::int64_t n_pixels = a.views.n_views * a.views.height * a.views.width;
  if (a.grad_masks) zero_fill(a.grad_masks, n_pixels, n_threads);
  if (a.grad_depths) zero_fill(a.grad_depths, n_pixels, n_threads);
  const auto use = [&](const PointTile<T>& tile, const PointTile<T>& directions) {
    grad_points(a, cameras, tile, directions);
  };
  const auto grad_block = [&](const std::uint32_t* order, std::int64_t base, std::int64_t end) {
    if (a.grad_masks || a.grad_depths) {
      const auto ranges = balanced_rows(a.views, cameras, a.points, order, base, end, n_threads);
      parallel_for(static_cast<std::int64_t>(ranges.size()), 1, n_threads,
                   [&](std::int64_t i, std::int64_t) { grad_maps(a, cameras, order, base, end, ranges[i]); });
    }
    if (a.grad_points || a.grad_directions) for_weight_tiles(a, order, base, end, n_threads, use);
  };
  for_ordered_blocks(a.points, a.n_points, n_threads, grad_block);
}

template void view_weights_forward<float>(const ViewWeightsArgs<float>&, int);
template void view_weights_forward<double>(const ViewWeightsArgs<double>&, int);
template void view_weights_backward<float>(const ViewWeightsGradArgs<float>&, int);
template void view_weights_backward<double>(const ViewWeightsGradArgs<double>&, int);

}  // namespace uner3d::cpu
