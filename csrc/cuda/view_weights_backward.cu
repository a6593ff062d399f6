// A group of lanes a point, a view a lane; what the views give the point is added up across the group.
#include "pixel_owner.cuh"
#include "view_factors.cuh"

namespace uner3d::cuda {
namespace {

using Args = ViewWeightsGradArgs<float>;

struct PointGrads {
  float point[3] = {}, direction[3] = {};
};

// Derivative of a sample of one channel to the pixel position, times the gradient of the sample.
__device__ __forceinline__ void add_grad_pixel(const Corners<float>& c, const Footprint& at, float grad, float& grad_u,
                                               float& grad_v) {
  grad_u += grad * core::bilinear_du(c.p00, c.p01, c.p10, c.p11, at.ay);
  grad_v += grad * core::bilinear_dv(c.p00, c.p01, c.p10, c.p11, at.ax);
}

// From one view to the point and its direction, and to the maps where these are wanted.
__device__ __forceinline__ void grad_view(const Args& a, const Camera& camera, std::int64_t point, int view,
                                          PointGrads& to) {
  const Tap tap = find_tap(camera, a.points + 3 * point, a.views);
  if (!tap.seen) return;
  const Footprint at = footprint(a.views, 1, view, tap.pixel, tap.ax, tap.ay);
  const Factors f = weigh(a, camera, point, tap, at);
  const float grad = __ldg(a.grad_weights + point * a.views.n_views + view);
  const float to_mask = grad_mask(f, grad), to_depth = grad_depth(f, grad);
  float grad_u = 0, grad_v = 0;
  if (a.directions) {
    const float d[3] = {__ldg(a.directions + 3 * point), __ldg(a.directions + 3 * point + 1),
                        __ldg(a.directions + 3 * point + 2)};
    core::angle_backward(f.angle, d, grad * f.mask * f.visibility.value, to.point, to.direction);
  }
  const Layout<1, false> one(Group(0), 0, 1);  // a pixel of one channel, whole in this lane
  if (a.masks) {
    add_grad_pixel(f.mask_pixels, at, to_mask, grad_u, grad_v);
    if (a.grad_masks) scatter(one, a.grad_masks, at, Channels<1>{{to_mask}});
  }
  if (a.depths) {
    add_grad_pixel(f.depth_pixels, at, to_depth, grad_u, grad_v);
    if (a.grad_depths) scatter(one, a.grad_depths, at, Channels<1>{{to_depth}});
    const float to_z = grad * f.angle_value * f.mask * f.visibility.z_slope;
    for (int k = 0; k < 3; ++k) to.point[k] += to_z * camera.p[2][k];
  }
  core::project_backward(camera, tap.u, tap.v, tap.inv_z, grad_u, grad_v, to.point);
}

__global__ void __launch_bounds__(kThreads, 3)
    grad_weights(const __grid_constant__ Args a, const float* cameras, int log_width) {
  const Camera* staged = stage_cameras(cameras, a.views.n_views);
  const Group group(log_width);
  const int n_views = static_cast<int>(a.views.n_views);
  for_groups(group, a.n_points, [&](std::int64_t point) {
    PointGrads to;
    if (point < a.n_points)
      for (int view = group.lane; view < n_views; view += group.width) grad_view(a, staged[view], point, view, to);
#pragma unroll
    for (int k = 0; k < 3; ++k) {
      const float x = group.sum(to.point[k]), d = group.sum(to.direction[k]);
      if (point >= a.n_points || group.lane != 0) continue;
      if (a.grad_points) a.grad_points[3 * point + k] = x;
      if (a.grad_directions) a.grad_directions[3 * point + k] = d;
    }
  });
}

// Gradient of the masks, or of the depths, from sorted pairs.
template <bool kDepths>
__global__ void __launch_bounds__(kThreads, 3)
    grad_sorted(const __grid_constant__ Args a, const __grid_constant__ ViewPairs pairs, const float* cameras,
                int parity) {
  const Camera* staged = stage_cameras(cameras, a.views.n_views);
  const Group single(0);
  const Layout<1, false> one(single, 0, 1);
  for_cells(a.views, pairs, parity, single, [&](const Cell& cell, std::int64_t pair) {
    const auto gradient = [&](std::int64_t point, const Tap& tap, const Footprint& at) {
      const Factors f = weigh(a, staged[cell.view], point, tap, at);
      const float grad = __ldg(a.grad_weights + point * a.views.n_views + cell.view);
      return Channels<1>{{kDepths ? grad_depth(f, grad) : grad_mask(f, grad)}};
    };
    add_cell(a.views, pairs, pair, cell, staged[cell.view], a.points, one, 1, kDepths ? a.grad_depths : a.grad_masks,
             gradient);
  });
}

}  // namespace

void view_weights_backward(const Args& args, const ViewLaunch& launch) {
  check_counts(args.views.n_views, 1);
  if (args.n_points == 0) return;
  const DeviceGuard guard(launch.device);
  make_cameras(args.views, launch);
  const int log_width = log_group(args.views.n_views);
  enqueue("view_weights_backward", grad_weights, group_grid(args.n_points, log_width, 4096), staged_bytes(args.views),
          launch.stream, args, static_cast<const float*>(launch.cameras), log_width);
}

void view_weights_backward_sorted(const Args& args, const ViewPairs& pairs, const ViewLaunch& launch) {
  check_counts(args.views.n_views, 1);
  if (pairs.n_pairs == 0) return;
  const DeviceGuard guard(launch.device);
  make_cameras(args.views, launch);
  for_parities(args.views, 0, [&](int parity, unsigned blocks) {
    const auto* cameras = static_cast<const float*>(launch.cameras);
    if (args.grad_masks)
      enqueue("view_weights_backward_sorted", grad_sorted<false>, blocks, staged_bytes(args.views), launch.stream, args,
              pairs, cameras, parity);
    if (args.grad_depths)
      enqueue("view_weights_backward_sorted", grad_sorted<true>, blocks, staged_bytes(args.views), launch.stream, args,
              pairs, cameras, parity);
  });
}

}  // namespace uner3d::cuda
