// A group of lanes a point, as in fuse_views: the lanes project the point into as many views at once, then the group
// goes through those that see it.
#include "../ops/sample_views.h"
#include "pixel_owner.cuh"

namespace uner3d::cuda {
namespace {

using Args = SampleViewsGradArgs<float>;

constexpr std::int64_t kMostBlocks = 4096;

// Adds one round of channels of one seen pair to the maps; returns (in u and v) the derivative to the pixel position.
template <class M, class L, bool kMaps, bool kPoints>
__device__ __forceinline__ float2 grad_pair(const Args& a, const L& lane, std::int64_t pair, const Footprint& at) {
  const auto g = lane.load(a.grad_values + pair * a.n_channels);
  if (kMaps) scatter(lane, a.grad_maps, at, g);
  float2 sums{0.0f, 0.0f};
  if constexpr (kPoints) {
    const auto c = load_corners(lane, reinterpret_cast<const M*>(a.maps), at);
    sums.x = (g * core::bilinear_du(c.p00, c.p01, c.p10, c.p11, at.ay)).sum();
    sums.y = (g * core::bilinear_dv(c.p00, c.p01, c.p10, c.p11, at.ax)).sum();
  }
  return sums;
}

// The views of a batch, one a lane; returns the sums over all channels that belong to this lane's view.
template <class M, class L, bool kMaps, bool kPoints>
__device__ __forceinline__ float2 visit_views(const Args& a, const Group& group, std::int64_t point, int first,
                                              const Tap& own) {
  const int n_channels = static_cast<int>(a.n_channels);
  float2 kept{0.0f, 0.0f};
  for (unsigned left = group.ballot(own.seen); __any_sync(kFullWarp, left != 0); left &= left - 1) {
    const int source = left ? __ffs(static_cast<int>(left)) - 1 : 0;
    const std::int32_t pixel = group.from(own.pixel, source);
    const float ax = group.from(own.ax, source), ay = group.from(own.ay, source);
    float2 sums{0.0f, 0.0f};
    if (left != 0) {
      const int view = first + source;
      const Footprint at = footprint(a.views, a.n_channels, view, pixel, ax, ay);
      for (int round = 0; round < n_channels; round += L::span(group)) {
        const float2 part =
            grad_pair<M, L, kMaps, kPoints>(a, L(group, round, n_channels), point * a.views.n_views + view, at);
        sums.x += part.x, sums.y += part.y;
      }
    }
    if constexpr (kPoints) {
      sums = {group.sum(sums.x), group.sum(sums.y)};
      if (left != 0 && group.lane == source) kept = sums;
    }
  }
  return kept;
}

template <class M, class L, bool kMaps, bool kPoints>
__global__ void __launch_bounds__(kThreads, 2)
    grad_samples(const __grid_constant__ Args a, const float* cameras, int log_width) {
  const Camera* staged = stage_cameras(cameras, a.views.n_views);
  const Group group(log_width);
  const int n_views = static_cast<int>(a.views.n_views);
  for_groups(group, a.n_points, [&](std::int64_t point) {
    float grad[3] = {};
    for (int first = 0; first < n_views; first += group.width) {
      const int view = first + group.lane;
      Tap own{};
      if (point < a.n_points && view < n_views) own = find_tap(staged[view], a.points + 3 * point, a.views);
      const float2 sums = visit_views<M, L, kMaps, kPoints>(a, group, point, first, own);
      if (kPoints && own.seen) core::project_backward(staged[view], own.u, own.v, own.inv_z, sums.x, sums.y, grad);
    }
    if constexpr (kPoints) {
#pragma unroll
      for (int k = 0; k < 3; ++k) {
        const float total = group.sum(grad[k]);
        if (point < a.n_points && group.lane == 0) a.grad_points[3 * point + k] = total;
      }
    }
  });
}

template <class L>
__global__ void __launch_bounds__(kThreads, 2)
    grad_sorted(const __grid_constant__ Args a, const __grid_constant__ ViewPairs pairs, const float* cameras,
                int parity, int log_width) {
  const Camera* staged = stage_cameras(cameras, a.views.n_views);
  const Group group(log_width);
  const int n_channels = static_cast<int>(a.n_channels);
  for_cells(a.views, pairs, parity, group, [&](const Cell& cell, std::int64_t pair) {
    for (int round = 0; round < n_channels; round += L::span(group)) {
      const L lane(group, round, n_channels);
      const auto gradient = [&](std::int64_t point, const Tap&, const Footprint&) {
        return lane.load(a.grad_values + (point * a.views.n_views + cell.view) * a.n_channels);
      };
      add_cell(a.views, pairs, pair, cell, staged[cell.view], a.points, lane, a.n_channels, a.grad_maps, gradient);
    }
  });
}

}  // namespace

void sample_views_backward(const Args& args, const ViewLaunch& launch) {
  check_counts(args.views.n_views, args.n_channels);
  if (args.n_points == 0 || !(args.grad_maps || args.grad_points)) return;
  const DeviceGuard guard(launch.device);
  make_cameras(args.views, launch);
  const bool rows = fits_vector(args.grad_values, args.n_channels) && fits_vector(args.grad_maps, args.n_channels);
  with_map_layout<4>(launch.map_type, args.maps, args.n_channels, rows, [&](auto choice) {
    using M = typename decltype(choice)::Element;
    using L = typename decltype(choice)::Layout;
    const int log_width = log_group(ceil_div(args.n_channels, L::kWidth));
    const auto kernel = !args.grad_points ? grad_samples<M, L, true, false>
                        : !args.grad_maps ? grad_samples<M, L, false, true>
                                          : grad_samples<M, L, true, true>;
    enqueue("sample_views_backward", kernel, group_grid(args.n_points, log_width, kMostBlocks),
            staged_bytes(args.views), launch.stream, args, static_cast<const float*>(launch.cameras), log_width);
  });
}

void sample_views_backward_sorted(const Args& args, const ViewPairs& pairs, const ViewLaunch& launch) {
  check_counts(args.views.n_views, args.n_channels);
  if (pairs.n_pairs == 0 || args.n_channels == 0) return;
  const DeviceGuard guard(launch.device);
  make_cameras(args.views, launch);
  const bool rows = fits_vector(args.grad_values, args.n_channels);
  with_layout<4, float>(nullptr, args.n_channels, rows, [&](auto choice) {  // no map is read: any type will do
    using L = typename decltype(choice)::Layout;
    const int log_width = log_group(ceil_div(args.n_channels, L::kWidth));
    for_parities(args.views, log_width, [&](int parity, unsigned blocks) {
      enqueue("sample_views_backward_sorted", grad_sorted<L>, blocks, staged_bytes(args.views), launch.stream, args,
              pairs, static_cast<const float*>(launch.cameras), parity, log_width);
    });
  });
}

}  // namespace uner3d::cuda
