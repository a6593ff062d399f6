// Gradient of the maps of fuse_views from sorted pairs: the same bits each time.
#include "../core/fuse_views.h"
#include "../ops/fuse_views.h"
#include "fuse_weights.cuh"
#include "pixel_owner.cuh"

namespace uner3d::cuda {
namespace {

using Args = FuseViewsGradArgs<float>;

template <class M, class L>
__global__ void __launch_bounds__(kThreads, 2)
    grad_sorted(const __grid_constant__ Args a, const __grid_constant__ ViewPairs pairs, const float* cameras,
                int parity, int log_width) {
  const M* maps = reinterpret_cast<const M*>(a.maps);
  const Camera* staged = stage_cameras(cameras, a.views.n_views);
  const Group group(log_width);
  const int n_channels = static_cast<int>(a.n_channels);
  for_cells(a.views, pairs, parity, group, [&](const Cell& cell, std::int64_t pair) {
    const int view = static_cast<int>(cell.view);
    for (int round = 0; round < n_channels; round += L::span(group)) {
      const L lane(group, round, n_channels);
      const auto gradient = [&](std::int64_t point, const Tap&, const Footprint& at) {
        const float w = view_weight(a, point, view);
        if (w == 0) return typename L::Values{};
        const std::int64_t row = point * a.n_channels;
        const auto x = sample(load_corners(lane, maps, at), at);
        const auto grad = core::fuse_grad_sample(x, lane.load(a.mean + row),
                                                 lane.load_or_zero(a.grad_mean ? a.grad_mean + row : nullptr),
                                                 lane.load_or_zero(a.grad_var ? a.grad_var + row : nullptr));
        return (w / __ldg(a.weight_sum + point)) * grad;
      };
      add_cell(a.views, pairs, pair, cell, staged[view], a.points, lane, a.n_channels, a.grad_maps, gradient);
    }
  });
}

}  // namespace

void fuse_views_backward_sorted(const Args& args, const ViewPairs& pairs, const ViewLaunch& launch) {
  check_counts(args.views.n_views, args.n_channels);
  if (pairs.n_pairs == 0 || args.n_channels == 0) return;
  const DeviceGuard guard(launch.device);
  make_cameras(args.views, launch);
  bool rows = true;
  for (const float* row : {args.mean, args.grad_mean, args.grad_var}) rows = rows && fits_vector(row, args.n_channels);
  with_map_layout<4>(launch.map_type, args.maps, args.n_channels, rows, [&](auto choice) {
    using L = typename decltype(choice)::Layout;
    const int log_width = log_group(ceil_div(args.n_channels, L::kWidth));
    for_parities(args.views, log_width, [&](int parity, unsigned blocks) {
      enqueue("fuse_views_backward_sorted", grad_sorted<typename decltype(choice)::Element, L>, blocks,
              staged_bytes(args.views), launch.stream, args, pairs, static_cast<const float*>(launch.cameras), parity,
              log_width);
    });
  });
}

}  // namespace uner3d::cuda
