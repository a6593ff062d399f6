// A group of lanes a point, each with a few channels. The lanes project the point into as many views at once; then the
// group goes through those that see it, each lane with its channels' mean and variance in registers.
#include <type_traits>

#include "../core/fuse_views.h"
#include "../ops/fuse_views.h"
#include "fuse_weights.cuh"
#include "view_taps.cuh"

namespace uner3d::cuda {
namespace {

using Args = FuseViewsArgs<float>;

constexpr int kBlock = 128;                 // threads: five of them fit a multiprocessor with TwoRuns, two of 256
constexpr std::int64_t kMostBlocks = 8192;  // some waves of any GPU: cameras are staged once a block

struct WeightedTap {
  std::int32_t pixel;
  float ax, ay;
  core::WelfordStep<float> step;
};

// This lane's view of the group's batch, and the weights of the views up to and with it added to `sum`.
__device__ __forceinline__ bool weigh_tap(const Args& a, const Camera* cameras, const Group& group, std::int64_t point,
                                          int view, float& sum, WeightedTap& out) {
  float w = 0;
  out = {};
  if (point < a.n_points && view < a.views.n_views) {
    const Tap tap = find_tap(cameras[view], a.points + 3 * point, a.views);
    out.pixel = tap.pixel, out.ax = tap.ax, out.ay = tap.ay;
    if (tap.seen) w = view_weight(a, point, view);
  }
  const float through = group.prefix_sum(w);
  const float before = sum + group.previous(through, 0.0f);
  if (w > 0) out.step = core::welford_step(w, before);
  sum += group.from(through, group.width - 1);
  return w > 0;
}

// The maps as a lane reads them: from its first channel on, in bytes, with the factors of an address in 32 bits.
template <class M>
struct LaneMaps {
  const char* base;
  std::uint32_t view_pixels, pixel_bytes;
  std::int64_t row_bytes;

  template <class L>
  __device__ __forceinline__ LaneMaps(const Args& a, const L& lane)
      : base(reinterpret_cast<const char*>(a.maps) + lane.first * static_cast<std::int64_t>(sizeof(M))),
        view_pixels(static_cast<std::uint32_t>(a.views.height * a.views.width)),
        pixel_bytes(static_cast<std::uint32_t>(a.n_channels * sizeof(M))),
        row_bytes(a.views.width * pixel_bytes) {
    keep(base);
  }

  template <class L>
  __device__ __forceinline__ Corners<typename L::Values> load(const L& lane, int view, std::int32_t pixel,
                                                              bool has_right, bool has_below) const {
    const std::uint64_t index =
        static_cast<std::uint64_t>(static_cast<std::uint32_t>(view)) * view_pixels + static_cast<std::uint32_t>(pixel);
    const std::uint32_t right = has_right ? pixel_bytes : 0;
    const char* top = base + index * pixel_bytes;
    keep(top);
    const char* bottom = top + (has_below ? row_bytes : 0);
    const auto at = [&](const char* p) { return lane.load_from(reinterpret_cast<const M*>(p)); };
    return {at(top), at(top + right), at(bottom), at(bottom + right)};
  }
};

template <class M, class L>
__device__ __forceinline__ float fuse_channels(const Args& a, const Camera* cameras, const Group& group, const L& lane,
                                               std::int64_t point) {
  const LaneMaps<M> maps(a, lane);
  const int n_views = static_cast<int>(a.views.n_views);
  typename L::Values mean, m2;
  float sum = 0;
  for (int first = 0; first < n_views; first += group.width) {
    WeightedTap own;
    const bool counts = weigh_tap(a, cameras, group, point, first + group.lane, sum, own);
    unsigned left = group.ballot(counts);
    if (!lane.holds_any()) left = 0;
    for (; __any_sync(kFullWarp, left != 0); left &= left - 1) {
      const int source = left ? __ffs(static_cast<int>(left)) - 1 : 0;
      const std::int32_t pixel = group.from(own.pixel, source);
      const float ax = group.from(own.ax, source), ay = group.from(own.ay, source);
      const core::WelfordStep<float> step{group.from(own.step.ratio, source), group.from(own.step.spread, source)};
      if (left == 0) continue;
      const auto c = maps.load(lane, first + source, pixel, flag_of(ax), flag_of(ay));
      const auto w = core::bilinear_weights(fabsf(ax), fabsf(ay));
      core::welford_add(core::bilinear(c.p00, c.p01, c.p10, c.p11, w), step, mean, m2);
    }
  }
  if (point < a.n_points) {  // passing, lest large results push the maps out of the cache
    lane.template store<true>(a.mean + point * a.n_channels, mean);
    lane.template store<true>(a.var + point * a.n_channels, (sum > 0 ? 1.0f / sum : 0.0f) * m2);
  }
  return sum;
}

template <class M, class L>
__global__ void __launch_bounds__(kBlock, std::is_same_v<L, TwoRuns> ? 5 : 6)
    fuse_points(const __grid_constant__ Args a, const float* cameras, int log_width) {
  const Camera* staged = stage_cameras(cameras, a.views.n_views);
  const Group group(log_width);
  const int n_channels = static_cast<int>(a.n_channels);
  for_groups(group, a.n_points, [&](std::int64_t point) {
    float sum = 0;
    int round = 0;
    do {  // once where there are no channels: the sum of the weights is wanted all the same
      sum = fuse_channels<M>(a, staged, group, L(group, round, n_channels), point);
      round += L::span(group);
    } while (round < n_channels);
    if (point < a.n_points && group.lane == 0) a.weight_sum[point] = sum;
  });
}

}  // namespace

void fuse_views_forward(const Args& args, const ViewLaunch& launch) {
  check_counts(args.views.n_views, args.n_channels);
  if (args.n_points == 0) return;
  const DeviceGuard guard(launch.device);
  make_cameras(args.views, launch);
  const bool rows = fits_vector(args.mean, args.n_channels) && fits_vector(args.var, args.n_channels);
  with_map_layout<8>(launch.map_type, args.maps, args.n_channels, rows, [&](auto choice) {
    using Choice = decltype(choice);
    using L = typename Choice::Layout;
    const int log_width = log_group(ceil_div(args.n_channels, L::kWidth));
    enqueue_blocks("fuse_views_forward", fuse_points<typename Choice::Element, L>,
                   group_grid(args.n_points, log_width, kMostBlocks, kBlock), kBlock, staged_bytes(args.views),
                   launch.stream, args, static_cast<const float*>(launch.cameras), log_width);
  });
}

}  // namespace uner3d::cuda
