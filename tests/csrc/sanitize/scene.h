// Cameras and points for the ops over views, chosen so that no result hangs on the last bit: projections keep off the
// borders and centres of pixels, where what is seen, or the slope of a bilinear sample, jumps.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>

#include "../../../csrc/ops/views.h"
#include "check.h"
#include "memory.h"

namespace sanitize {

using uner3d::Views;
using uner3d::cuda::MapType;
using uner3d::cuda::ViewLaunch;
using uner3d::cuda::ViewPairs;

struct Scene {
  Scene(std::int64_t n_views_, std::int64_t height_, std::int64_t width_, std::int64_t n_points)
      : n_views(n_views_), height(height_), width(width_), random(7) {
    for (std::int64_t v = 0; v < n_views; ++v) add_camera(0.02f * static_cast<float>(v % 7));
    while (static_cast<std::int64_t>(points.size()) < 3 * n_points) {
      const float point[3] = {random.uniform(-2.2f, 2.2f), random.uniform(-2.2f, 2.2f), random.uniform(3.35f, 3.65f)};
      if (is_off_borders(point)) points.insert(points.end(), point, point + 3);
    }
  }

  std::int64_t n_points() const { return static_cast<std::int64_t>(points.size()) / 3; }
  Views<float> views(const float* k, const float* pose) const { return {k, pose, n_views, height, width}; }
  Views<float> here() const { return views(K.data(), cam_from_world.data()); }

  std::int64_t n_views, height, width;
  Random random;
  std::vector<float> K, cam_from_world, points;

 private:
  void add_camera(float angle) {
    const auto w = static_cast<float>(width), h = static_cast<float>(height);
    const float c = std::cos(angle), s = std::sin(angle);
    const float k[9] = {w, 0.2f, w / 2 + 0.1f, 0, h, h / 2 - 0.2f, 0, 0, 1};
    const float pose[12] = {c, 0, s, random.uniform(-0.1f, 0.1f), 0, 1, 0, random.uniform(-0.1f, 0.1f), -s, 0, c, 0};
    K.insert(K.end(), k, k + 9);
    cam_from_world.insert(cam_from_world.end(), pose, pose + 12);
  }

  bool is_off_borders(const float* point) const {
    for (std::int64_t v = 0; v < n_views; ++v) {
      const float *k = &K[static_cast<std::size_t>(9 * v)], *pose = &cam_from_world[static_cast<std::size_t>(12 * v)];
      double at[3];
      for (int i = 0; i < 3; ++i)
        at[i] = static_cast<double>(pose[4 * i]) * point[0] + static_cast<double>(pose[4 * i + 1]) * point[1] +
                static_cast<double>(pose[4 * i + 2]) * point[2] + pose[4 * i + 3];
      const double u = (k[0] * at[0] + k[1] * at[1]) / at[2] + k[2], y = k[4] * at[1] / at[2] + k[5];
      if (std::fabs(2 * u - std::round(2 * u)) < 2e-3 || std::fabs(2 * y - std::round(2 * y)) < 2e-3) return false;
    }
    return true;
  }
};

// The scene's cameras and points on the device, with what a launch over views takes.
struct SceneThere {
  explicit SceneThere(const Scene& s)
      : scene(s),
        K(s.K),
        cam_from_world(s.cam_from_world),
        points(s.points),
        cameras(s.n_views * uner3d::cuda::kCameraFloats),
        n_pairs(s.n_views * s.n_points()),
        keys(n_pairs),
        order(n_pairs) {}
  Views<float> views() const { return scene.views(K.get(), cam_from_world.get()); }
  ViewLaunch launch(MapType type = MapType::kFloat32) const { return {type, cameras.get(), kDevice, stream()}; }

  // All pairs, sorted as the Python side has torch sort them.
  ViewPairs pairs() {
    uner3d::cuda::view_pair_keys(views(), points.get(), scene.n_points(), keys.get(), launch());
    const auto unsorted = keys.read();
    std::vector<std::int64_t> rows(unsorted.size()), sorted;
    std::iota(rows.begin(), rows.end(), std::int64_t{0});
    const auto key = [&](std::int64_t i) { return unsorted[static_cast<std::size_t>(i)]; };
    std::stable_sort(rows.begin(), rows.end(), [&](std::int64_t a, std::int64_t b) { return key(a) < key(b); });
    for (std::int64_t row : rows) sorted.push_back(key(row));
    upload(keys.get(), sorted.data(), sorted.size() * sizeof(std::int64_t));
    upload(order.get(), rows.data(), rows.size() * sizeof(std::int64_t));
    return {keys.get(), order.get(), n_pairs, 0};
  }

  const Scene& scene;
  OnDevice<float> K, cam_from_world, points, cameras;
  std::int64_t n_pairs;
  OnDevice<std::int64_t> keys, order;
};

}  // namespace sanitize
