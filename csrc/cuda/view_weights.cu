// A thread a (point, view) pair, so that weights are written in one contiguous run.
#include "view_factors.cuh"

namespace uner3d::cuda {
namespace {

using Args = ViewWeightsArgs<float>;

__global__ void __launch_bounds__(kThreads) weigh_pairs(const __grid_constant__ Args a, const float* cameras) {
  const Camera* staged = stage_cameras(cameras, a.views.n_views);
  const Group warp(kLogWarp);
  const std::int64_t n_pairs = a.n_points * a.views.n_views;
  for_groups(warp, (n_pairs + kWarp - 1) / kWarp, [&](std::int64_t i) {
    const Pair pair = pair_at(i * kWarp, warp.lane, static_cast<int>(a.views.n_views));
    if (pair.point >= a.n_points) return;
    const Tap tap = find_tap(staged[pair.view], a.points + 3 * pair.point, a.views);
    float weight = 0;
    if (tap.seen) {
      const Footprint at = footprint(a.views, 1, pair.view, tap.pixel, tap.ax, tap.ay);
      const Factors f = weigh(a, staged[pair.view], pair.point, tap, at);
      weight = f.angle_value * f.mask * f.visibility.value;
    }
    a.weights[i * kWarp + warp.lane] = weight;
  });
}

}  // namespace

void view_weights_forward(const Args& args, const ViewLaunch& launch) {
  check_counts(args.views.n_views, 1);
  const std::int64_t n_pairs = args.n_points * args.views.n_views;
  if (n_pairs == 0) return;
  const DeviceGuard guard(launch.device);
  make_cameras(args.views, launch);
  enqueue("view_weights_forward", weigh_pairs, group_grid(ceil_div(n_pairs, kWarp), kLogWarp, 4096),
          staged_bytes(args.views), launch.stream, args, static_cast<const float*>(launch.cameras));
}

}  // namespace uner3d::cuda
