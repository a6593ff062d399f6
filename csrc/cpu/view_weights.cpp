#include "../ops/view_weights.h"

#include "../core/view_weights.h"
#include "parallel.h"
#include "view_rows.h"
#include "view_tiles.h"

namespace uner3d::cpu {
namespace {
constexpr std::int64_t kTilesPerChunk = 16;

// factor *= max(0, cos)^power between the target directions and the rays from the camera's centre.
template <class T, class Args>
void apply_angle(const Args& a, const core::Camera<T>& camera, const PointTile<T>& tile, T* factor) {
  const int integer = core::as_integer_power(a.angle_power);
  T x[kTile], y[kTile], z[kTile], cosine[kTile];
  for (int p = 0; p < kTile; ++p) {
    const T* d = a.directions + 3 * tile.index[p];
    x[p] = d[0], y[p] = d[1], z[p] = d[2];
  }
  const T cx = camera.centre[0], cy = camera.centre[1], cz = camera.centre[2];
#pragma omp simd
  for (int p = 0; p < kTile; ++p)
    cosine[p] = core::ray_cosine(core::ray_to(tile.x[p] - cx, tile.y[p] - cy, tile.z[p] - cz), x[p], y[p], z[p]);
  if (integer < 0) {
    for (int p = 0; p < kTile; ++p) factor[p] *= std::pow(cosine[p], a.angle_power);
    return;
  }
  for (int bits = integer; bits > 0; bits >>= 1) {
    if (bits & 1)
      for (int p = 0; p < kTile; ++p) factor[p] *= cosine[p];
    for (int p = 0; p < kTile; ++p) cosine[p] *= cosine[p];
  }
}

// The four pixels of a one-channel map around every point of a tile.
template <class T>
struct TileCorners {
  T p00[kTile], p01[kTile], p10[kTile], p11[kTile];
};

template <class T>
void gather(const T* map, std::int64_t width, const TileView<T>& at, TileCorners<T>& out) {
#pragma omp simd
  for (int p = 0; p < kTile; ++p) {
    const std::int64_t top = at.row[p] * width + at.column[p], bottom = top + at.row_step[p] * width;
    out.p00[p] = map[top];
    out.p01[p] = map[top + at.column_step[p]];
    out.p10[p] = map[bottom];
    out.p11[p] = map[bottom + at.column_step[p]];
  }
}

template <class T>
void apply_mask(const TileCorners<T>& c, const TileView<T>& at, T* factor) {
#pragma omp simd
  for (int p = 0; p < kTile; ++p) {
    T w[4];
    core::bilinear_weights(at.ax[p], at.ay[p], w);
    factor[p] *= core::bilinear(c.p00[p], c.p01[p], c.p10[p], c.p11[p], w);
  }
}

template <class T>
void apply_visibility(const TileCorners<T>& c, const TileView<T>& at, T inv_tolerance, T* factor) {
#pragma omp simd
  for (int p = 0; p < kTile; ++p) {
    T w[4];
    core::bilinear_weights(at.ax[p], at.ay[p], w);
    const bool known = core::is_depth(c.p00[p]) & core::is_depth(c.p01[p]) & core::is_depth(c.p10[p]) &
                       core::is_depth(c.p11[p]);
    const T depth = known ? core::bilinear(c.p00[p], c.p01[p], c.p10[p], c.p11[p], w) : T(1);
    const T visible = core::visibility(at.z[p], depth, inv_tolerance);
    factor[p] *= known ? visible : T(1);
  }
}

template <class T>
void weigh_tile(const ViewWeightsArgs<T>& a, const core::Camera<T>& camera, std::int64_t view,
                const PointTile<T>& tile) {
  TileView<T> at;
  TileCorners<T> corners;
  T factor[kTile];
  project_tile(camera, a.views, tile, at);
  std::fill(factor, factor + kTile, T(1));
  const bool any = std::any_of(at.seen, at.seen + tile.n, [](std::int32_t s) { return s != 0; });
  const std::int64_t map = view * a.views.height * a.views.width;
  if (any && a.directions) apply_angle(a, camera, tile, factor);
  if (any && a.masks) {
    gather(a.masks + map, a.views.width, at, corners);
    apply_mask(corners, at, factor);
  }
  if (any && a.depths) {
    gather(a.depths + map, a.views.width, at, corners);
    apply_visibility(corners, at, T(1) / a.depth_tolerance, factor);
  }
  for (int p = 0; p < tile.n; ++p)
    a.weights[tile.index[p] * a.views.n_views + view] = at.seen[p] ? factor[p] : T(0);
}

// One weight taken apart, for the backward.
template <class T>
struct Factors {
  core::Ray<T> ray;
  T cosine = 1, angle = 1, mask = 1, visibility = 1, depth = 1;
  bool depth_known = false;
};

template <class T>
Factors<T> factors_of(const ViewWeightsGradArgs<T>& a, const core::Camera<T>& camera, std::int64_t point, T z,
                      const Tap<T>& tap) {
  Factors<T> f;
  if (a.directions) {
    const T *x = a.points + 3 * point, *d = a.directions + 3 * point;
    f.ray = core::ray_to(x[0] - camera.centre[0], x[1] - camera.centre[1], x[2] - camera.centre[2]);
    f.cosine = core::ray_cosine(f.ray, d[0], d[1], d[2]);
    f.angle = core::power_of(f.cosine, a.angle_power, core::as_integer_power(a.angle_power));
  }
  if (a.masks) f.mask = sample<T>(a.masks, tap, 0);
  if (a.depths) {
    const auto c = load_corners<T>(a.depths, tap, 0);
    f.depth_known = core::is_depth(c.p00) & core::is_depth(c.p01) & core::is_depth(c.p10) & core::is_depth(c.p11);
    if (f.depth_known) {
      f.depth = core::bilinear(c.p00, c.p01, c.p10, c.p11, tap.w);
      f.visibility = core::visibility(z, f.depth, T(1) / a.depth_tolerance);
    }
  }
  return f;
}

// Adds grad times the derivative of the angle factor to the point and its direction.
template <class T>
void angle_backward(const ViewWeightsGradArgs<T>& a, const Factors<T>& f, std::int64_t point, T grad, T* grad_point,
                    T* grad_direction) {
  if (!(f.cosine > T(0)) || a.angle_power == T(0)) return;
  const T slope = grad * a.angle_power * std::pow(f.cosine, a.angle_power - T(1));
  const T* d = a.directions + 3 * point;
  const T ray[3] = {f.ray.x, f.ray.y, f.ray.z};
  for (int k = 0; k < 3; ++k) {
    grad_direction[k] += slope * ray[k];
    grad_point[k] += slope * f.ray.inv_length * (d[k] - f.cosine * ray[k]);
  }
}

// Gradients to a point and its direction from its weight in one view.
template <class T>
void point_backward(const ViewWeightsGradArgs<T>& a, const core::Camera<T>& camera, std::int64_t point, int p,
                    const TileView<T>& at, const Tap<T>& tap, T grad, T* grad_point, T* grad_direction) {
  const Factors<T> f = factors_of(a, camera, point, at.z[p], tap);
  if (a.directions) angle_backward(a, f, point, grad * f.mask * f.visibility, grad_point, grad_direction);
  T grad_u = 0, grad_v = 0;
  const auto through_map = [&](const T* map, T grad_value) {
    const auto c = load_corners<T>(map, tap, 0);
    grad_u += grad_value * core::bilinear_du(c.p00, c.p01, c.p10, c.p11, at.ay[p]);
    grad_v += grad_value * core::bilinear_dv(c.p00, c.p01, c.p10, c.p11, at.ax[p]);
  };
  if (a.masks) through_map(a.masks, grad * f.angle * f.visibility);
  if (f.depth_known) {
    T grad_z, grad_depth;
    core::visibility_backward(at.z[p], f.depth, T(1) / a.depth_tolerance, grad * f.angle * f.mask, grad_z, grad_depth);
    through_map(a.depths, grad_depth);
    for (int k = 0; k < 3; ++k) grad_point[k] += grad_z * camera.p[2][k];
  }
  core::project_backward(camera, at.u[p], at.v[p], at.inv_z[p], grad_u, grad_v, grad_point);
}

template <class T>
void grad_tile(const ViewWeightsGradArgs<T>& a, const std::vector<core::Camera<T>>& cameras,
               const PointTile<T>& tile) {
  TileView<T> at;
  T grad_points[kTile][3] = {}, grad_directions[kTile][3] = {};
  for (std::int64_t v = 0; v < a.views.n_views; ++v) {
    project_tile(cameras[v], a.views, tile, at);
    for (int p = 0; p < tile.n; ++p) {
      const T grad = a.grad_weights[tile.index[p] * a.views.n_views + v];
      if (at.seen[p])
        point_backward(a, cameras[v], tile.index[p], p, at, make_tap(at, p, v, a.views, 1), grad, grad_points[p],
                       grad_directions[p]);
    }
  }
  for (int p = 0; p < tile.n; ++p) {
    if (a.grad_points) std::copy(grad_points[p], grad_points[p] + 3, a.grad_points + 3 * tile.index[p]);
    if (a.grad_directions)
      std::copy(grad_directions[p], grad_directions[p] + 3, a.grad_directions + 3 * tile.index[p]);
  }
}

template <class T>
void add_grad_maps(const ViewWeightsGradArgs<T>& a, const std::vector<core::Camera<T>>& cameras, RowRange rows) {
  for_owned_taps(a.views, cameras, a.points, nullptr, 0, a.n_points, 1, rows,
                 [&](std::int64_t point, std::int64_t view, const Tap<T>& tap, bool first, bool second) {
    const core::Camera<T>& camera = cameras[view];
    const T *x = a.points + 3 * point, grad = a.grad_weights[point * a.views.n_views + view];
    const T z = camera.p[2][0] * x[0] + camera.p[2][1] * x[1] + camera.p[2][2] * x[2] + camera.p[2][3];
    const Factors<T> f = factors_of(a, camera, point, z, tap);
    const auto scatter = [&](T* map, T g) {
      if (first) add_to_row<Block<T, 1, 1>>(map + tap.offset, tap.step_column, tap.w[0], tap.w[1], &g);
      if (second)
        add_to_row<Block<T, 1, 1>>(map + tap.offset + tap.step_row, tap.step_column, tap.w[2], tap.w[3], &g);
    };
    if (a.grad_masks) scatter(a.grad_masks, grad * f.angle * f.visibility);
    if (a.grad_depths && f.depth_known) {
      T grad_z, grad_depth;
      core::visibility_backward(z, f.depth, T(1) / a.depth_tolerance, grad * f.angle * f.mask, grad_z, grad_depth);
      scatter(a.grad_depths, grad_depth);
    }
  });
}
}  // namespace

template <class T>
void view_weights_forward(const ViewWeightsArgs<T>& a, int n_threads) {
  const auto cameras = make_cameras(a.views);
  parallel_for(a.n_points, kTilesPerChunk * kTile, n_threads, [&](std::int64_t begin, std::int64_t end) {
    PointTile<T> tile;
    for (std::int64_t i = begin; i < end; i += kTile) {
      load_tile(a.points, nullptr, 0, i, end, tile);
      for (std::int64_t v = 0; v < a.views.n_views; ++v) weigh_tile(a, cameras[v], v, tile);
    }
  });
}

template <class T>
void view_weights_backward(const ViewWeightsGradArgs<T>& a, int n_threads) {
  const auto cameras = make_cameras(a.views);
  const std::int64_t n_pixels = a.views.n_views * a.views.height * a.views.width;
  if (a.grad_masks) zero_fill(a.grad_masks, n_pixels, n_threads);
  if (a.grad_depths) zero_fill(a.grad_depths, n_pixels, n_threads);
  if (a.grad_masks || a.grad_depths) {
    const auto ranges = balanced_rows(a.views, cameras, a.points, nullptr, 0, a.n_points, n_threads);
    parallel_for(static_cast<std::int64_t>(ranges.size()), 1, n_threads,
                 [&](std::int64_t i, std::int64_t) { add_grad_maps(a, cameras, ranges[i]); });
  }
  if (!a.grad_points && !a.grad_directions) return;
  parallel_for(a.n_points, kTilesPerChunk * kTile, n_threads, [&](std::int64_t begin, std::int64_t end) {
    PointTile<T> tile;
    for (std::int64_t i = begin; i < end; i += kTile) {
      load_tile(a.points, nullptr, 0, i, end, tile);
      grad_tile(a, cameras, tile);
    }
  });
}

template void view_weights_forward<float>(const ViewWeightsArgs<float>&, int);
template void view_weights_forward<double>(const ViewWeightsArgs<double>&, int);
template void view_weights_backward<float>(const ViewWeightsGradArgs<float>&, int);
template void view_weights_backward<double>(const ViewWeightsGradArgs<double>&, int);

}  // namespace uner3d::cpu
