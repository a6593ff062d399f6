// A warp takes 32 neighbouring (point, view) pairs: each lane projects one, then groups of lanes write their channels,
// pair after pair, so that all stores of a warp are one contiguous run.
#include "../ops/sample_views.h"
#include "view_taps.cuh"

namespace uner3d::cuda {
namespace {

using Args = SampleViewsArgs<float>;

constexpr std::int64_t kMostBlocks = 4096;  // some waves of any GPU: cameras are staged once a block

// Values of the pair that lane `source` of the warp projected.
template <class M, class L>
__device__ __forceinline__ void sample_pair(const Args& a, const Group& group, std::int64_t pair, int view, bool seen,
                                            std::int32_t pixel, float ax, float ay) {
  const M* maps = reinterpret_cast<const M*>(a.maps);
  const int n_channels = static_cast<int>(a.n_channels);
  for (int round = 0; round < n_channels; round += L::span(group)) {
    const L lane(group, round, n_channels);
    typename L::Values values;
    if (seen) {
      const Footprint at = footprint(a.views, a.n_channels, view, pixel, ax, ay);
      values = sample(load_corners(lane, maps, at), at);
    }
    lane.store(a.values + pair * a.n_channels, values);
  }
}

template <class M, class L>
__global__ void __launch_bounds__(kThreads, L::kVector ? 4 : 2)
    sample_pairs(const __grid_constant__ Args a, const float* cameras, int log_width) {
  const Camera* staged = stage_cameras(cameras, a.views.n_views);
  const Group warp(kLogWarp), group(log_width);
  const std::int64_t n_pairs = a.n_points * a.views.n_views;
  for_groups(warp, (n_pairs + kWarp - 1) / kWarp, [&](std::int64_t i) {
    const std::int64_t first = i * kWarp;
    const Pair own = pair_at(first, warp.lane, static_cast<int>(a.views.n_views));
    Tap tap{};
    if (own.point < a.n_points) {
      tap = find_tap(staged[own.view], a.points + 3 * own.point, a.views);
      a.valid[first + warp.lane] = tap.seen;
    }
    const int view = tap.seen ? own.view : -1, n_groups = kWarp >> group.log_width;
    for (int batch = 0; batch < group.width; ++batch) {
      const int source = batch * n_groups + (group.start >> group.log_width);
      const int at_view = warp.from(view, source);
      const std::int32_t pixel = warp.from(tap.pixel, source);
      const float ax = warp.from(tap.ax, source), ay = warp.from(tap.ay, source);
      if (first + source < n_pairs) sample_pair<M, L>(a, group, first + source, at_view, at_view >= 0, pixel, ax, ay);
    }
  });
}

}  // namespace

void sample_views_forward(const Args& args, const ViewLaunch& launch) {
  check_counts(args.views.n_views, args.n_channels);
  const std::int64_t n_pairs = args.n_points * args.views.n_views;
  if (n_pairs == 0) return;
  const DeviceGuard guard(launch.device);
  make_cameras(args.views, launch);
  with_map_layout<4>(launch.map_type, args.maps, args.n_channels, fits_vector(args.values, args.n_channels),
                     [&](auto choice) {
                       using L = typename decltype(choice)::Layout;
                       const int log_width = log_group(ceil_div(args.n_channels, L::kWidth));
                       enqueue("sample_views_forward", sample_pairs<typename decltype(choice)::Element, L>,
                               group_grid(ceil_div(n_pairs, kWarp), kLogWarp, kMostBlocks), staged_bytes(args.views),
                               launch.stream, args, static_cast<const float*>(launch.cameras), log_width);
                     });
}

}  // namespace uner3d::cuda
