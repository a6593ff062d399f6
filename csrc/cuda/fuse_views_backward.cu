// Groups of lanes as in the forward. What a view gives back is summed over the channels and kept by the lane whose view
// it is; then all lanes take their views' gradients to the weights and to the point at once.
#include "../core/fuse_views.h"
#include "../ops/fuse_views.h"
#include "fuse_weights.cuh"
#include "view_taps.cuh"

namespace uner3d::cuda {
namespace {

using Args = FuseViewsGradArgs<float>;

constexpr std::int64_t kMostBlocks = 1024;  // fixed: the partial sums, hence the bits, depend on it
constexpr int kWidth = 4;                   // channels a lane, whichever the layout
constexpr int kWarpsPerBlock = kThreads / kWarp;

unsigned grid_for(std::int64_t n_points, int log_width) { return group_grid(n_points, log_width, kMostBlocks); }

// What the backward knows of a point, whichever the view.
template <class V>
struct PointRows {
  V mean, var, grad_mean, grad_var;
  float inv_sum;
};

template <class L>
__device__ __forceinline__ PointRows<typename L::Values> load_rows(const Args& a, const L& lane, std::int64_t point,
                                                                   bool with_var) {
  PointRows<typename L::Values> rows;
  rows.inv_sum = 0;
  if (point >= a.n_points) return rows;
  const std::int64_t row = point * a.n_channels;
  const float sum = __ldg(a.weight_sum + point);
  rows.inv_sum = sum > 0 ? 1.0f / sum : 0.0f;
  rows.mean = lane.load(a.mean + row);
  if (with_var) rows.var = lane.load(a.var + row);
  if (a.grad_mean) rows.grad_mean = lane.load(a.grad_mean + row);
  if (a.grad_var) rows.grad_var = lane.load(a.grad_var + row);
  return rows;
}

// Sums over the channels of a lane: derivative to the weight (times W) and to the pixel position.
struct ViewSums {
  float weight = 0, u = 0, v = 0;
};

template <class V>
__device__ __forceinline__ ViewSums sum_channels(const Corners<V>& c, const Footprint& at, const V& x, const V& g,
                                                 const PointRows<V>& rows) {
  const V weight = core::fuse_grad_weight(x, rows.mean, rows.var, rows.grad_mean, rows.grad_var);
  const V du = g * core::bilinear_du(c.p00, c.p01, c.p10, c.p11, at.ay);
  const V dv = g * core::bilinear_dv(c.p00, c.p01, c.p10, c.p11, at.ax);
  return {weight.sum(), du.sum(), dv.sum()};
}

// The gradients of a batch of views, one a lane: this lane's tap, weight over W, and whether results follow its weight.
template <class M, class L, bool kMaps, bool kPoints>
__device__ __forceinline__ ViewSums visit_views(const Args& a, const Group& group, const L& lane,
                                                const PointRows<typename L::Values>& rows, int first, const Tap& own,
                                                float own_share, bool follows) {
  const M* maps = reinterpret_cast<const M*>(a.maps);
  ViewSums kept;
  const bool visit = rows.inv_sum > 0 && (kPoints ? follows : own_share > 0);
  for (unsigned left = group.ballot(visit); __any_sync(kFullWarp, left != 0); left &= left - 1) {
    const int source = left ? __ffs(static_cast<int>(left)) - 1 : 0;
    const std::int32_t pixel = group.from(own.pixel, source);
    const float ax = group.from(own.ax, source), ay = group.from(own.ay, source);
    const float share = group.from(own_share, source);
    ViewSums sums;
    if (left != 0) {
      const Footprint at = footprint(a.views, a.n_channels, first + source, pixel, ax, ay);
      const auto corners = load_corners(lane, maps, at);
      const auto x = sample(corners, at);
      const auto g = core::fuse_grad_sample(x, rows.mean, rows.grad_mean, rows.grad_var);
      if (kMaps && share > 0) scatter(lane, a.grad_maps, at, share * g);
      if (kPoints) sums = sum_channels(corners, at, x, g, rows);
    }
    if constexpr (kPoints) {
      sums = {group.sum(sums.weight), group.sum(sums.u), group.sum(sums.v)};
      if (left != 0 && group.lane == source) kept = sums;
    }
  }
  return kept;
}

// `grad` of this lane's view: to its own place, or for shared weights to the row of partial sums of this warp, which
// nobody else touches. Later rounds of channels add to the first.
__device__ __forceinline__ void give_weight(const Args& a, const Group& group, double* partials, std::int64_t point,
                                            int view, bool is_first, float grad) {
  const bool exists = view < a.views.n_views;
  if (partials) {
    const float total = group.sum_groups(grad);
    const std::int64_t warp = (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp;
    if (exists && group.start == 0) partials[warp * a.views.n_views + view] += static_cast<double>(total);
  } else if (a.grad_weights && exists && point < a.n_points) {
    float& to = a.grad_weights[point * a.views.n_views + view];
    to = is_first ? grad : to + grad;
  }
}

// The sum over the group's lanes to the point.
__device__ __forceinline__ void give_point(const Args& a, const Group& group, std::int64_t point, bool is_first,
                                           const float* grad) {
#pragma unroll
  for (int k = 0; k < 3; ++k) {
    const float total = group.sum(grad[k]);
    if (point >= a.n_points || group.lane != 0) continue;
    float& to = a.grad_points[3 * point + k];
    to = is_first ? total : to + total;
  }
}

// One round of channels of one point.
template <class M, class L, bool kMaps, bool kPoints>
__device__ __forceinline__ void grad_channels(const Args& a, const Camera* cameras, const Group& group, const L& lane,
                                              double* partials, std::int64_t point, bool is_first) {
  const auto rows = load_rows(a, lane, point, kPoints);
  const int n_views = static_cast<int>(a.views.n_views);
  const float to_sum = kPoints && is_first && a.grad_weight_sum && point < a.n_points ? a.grad_weight_sum[point] : 0.0f;
  float grad_point[3] = {};
  for (int first = 0; first < n_views; first += group.width) {
    const int view = first + group.lane;
    Tap own{};
    float raw = -1.0f;
    if (point < a.n_points && view < n_views) {
      own = find_tap(cameras[view], a.points + 3 * point, a.views);
      if (own.seen) raw = raw_weight(a, point, view);
    }
    const bool follows = raw >= 0;  // from zero a weight can only grow
    const float share = positive_part(raw) * rows.inv_sum;
    const ViewSums sums = visit_views<M, L, kMaps, kPoints>(a, group, lane, rows, first, own, share, follows);
    if constexpr (kPoints) {
      give_weight(a, group, partials, point, view, is_first, follows ? to_sum + rows.inv_sum * sums.weight : 0.0f);
      if (share > 0)
        core::project_backward(cameras[view], own.u, own.v, own.inv_z, share * sums.u, share * sums.v, grad_point);
    }
  }
  if constexpr (kPoints) {
    if (a.grad_points) give_point(a, group, point, is_first, grad_point);
  }
}

template <class M, class L, bool kMaps, bool kPoints>
__global__ void __launch_bounds__(kThreads, 2)
    grad_fused(const __grid_constant__ Args a, const float* cameras, double* partials, int log_width) {
  const Camera* staged = stage_cameras(cameras, a.views.n_views);
  const Group group(log_width);
  const int n_channels = static_cast<int>(a.n_channels);
  for_groups(group, a.n_points, [&](std::int64_t point) {
    int round = 0;
    do {
      grad_channels<M, L, kMaps, kPoints>(a, staged, group, L(group, round, n_channels), partials, point, round == 0);
      round += L::span(group);
    } while (round < n_channels);
  });
}

}  // namespace

std::int64_t fuse_views_partial_rows(std::int64_t n_points, std::int64_t n_channels) {
  return static_cast<std::int64_t>(grid_for(n_points, log_group(ceil_div(n_channels, kWidth)))) * kWarpsPerBlock;
}

void fuse_views_backward(const Args& args, double* partials, const ViewLaunch& launch) {
  check_counts(args.views.n_views, args.n_channels);
  const bool to_points = args.grad_points || args.grad_weights || partials;
  if (args.n_points == 0 || !(args.grad_maps || to_points)) return;
  const DeviceGuard guard(launch.device);
  make_cameras(args.views, launch);
  bool rows = true;
  for (const float* row :
       {args.mean, args.var, args.grad_mean, args.grad_var, static_cast<const float*>(args.grad_maps)})
    rows = rows && fits_vector(row, args.n_channels);
  const int log_width = log_group(ceil_div(args.n_channels, kWidth));
  with_map_layout<kWidth>(launch.map_type, args.maps, args.n_channels, rows, [&](auto choice) {
    using M = typename decltype(choice)::Element;
    using L = typename decltype(choice)::Layout;
    const auto kernel = !to_points        ? grad_fused<M, L, true, false>
                        : !args.grad_maps ? grad_fused<M, L, false, true>
                                          : grad_fused<M, L, true, true>;
    enqueue("fuse_views_backward", kernel, grid_for(args.n_points, log_width), staged_bytes(args.views), launch.stream,
            args, static_cast<const float*>(launch.cameras), partials, log_width);
  });
}

}  // namespace uner3d::cuda
