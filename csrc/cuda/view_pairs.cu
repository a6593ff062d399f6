// Cameras of all views, and the keys by which (point, view) pairs are sorted.
#include "view_taps.cuh"

namespace uner3d::cuda {
namespace {

__global__ void make_all_cameras(const __grid_constant__ Views<float> views, float* cameras) {
  grid_stride(views.n_views, [&](std::int64_t v) {
    reinterpret_cast<Camera*>(cameras)[v] = core::make_camera(views.K + 9 * v, views.cam_from_world + 12 * v);
  });
}

__global__ void write_keys(const __grid_constant__ Views<float> views, const float* points, std::int64_t n_points,
                           std::int64_t* keys, const float* cameras) {
  const Camera* staged = stage_cameras(cameras, views.n_views);
  const Group warp(kLogWarp);
  const std::int64_t n_pairs = n_points * views.n_views, n_pixels = views.height * views.width;
  for_groups(warp, (n_pairs + kWarp - 1) / kWarp, [&](std::int64_t i) {
    const Pair pair = pair_at(i * kWarp, warp.lane, static_cast<int>(views.n_views));
    if (pair.point >= n_points) return;
    const Tap tap = find_tap(staged[pair.view], points + 3 * pair.point, views);
    keys[i * kWarp + warp.lane] = tap.seen ? pair.view * n_pixels + tap.pixel : views.n_views * n_pixels;
  });
}

}  // namespace

void make_cameras(const Views<float>& views, const ViewLaunch& launch) {
  if (views.n_views == 0) return;
  enqueue("make_cameras", make_all_cameras, grid_size(ceil_div(views.n_views, kThreads)), 0, launch.stream, views,
          launch.cameras);
}

void view_pair_keys(const Views<float>& views, const float* points, std::int64_t n_points, std::int64_t* keys,
                    const ViewLaunch& launch) {
  check_counts(views.n_views, 0);
  if (n_points == 0 || views.n_views == 0) return;
  const DeviceGuard guard(launch.device);
  make_cameras(views, launch);
  enqueue("view_pair_keys", write_keys, group_grid(ceil_div(n_points * views.n_views, kWarp), kLogWarp, 4096),
          staged_bytes(views), launch.stream, views, points, n_points, keys, static_cast<const float*>(launch.cameras));
}

}  // namespace uner3d::cuda
