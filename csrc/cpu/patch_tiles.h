// Windows of a tile of pixels in structure of arrays: loops over the tile vectorise, whatever the hypotheses.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../core/camera.h"
#include "../core/patch_search.h"
#include "../ops/patch_match.h"

namespace uner3d::cpu {

constexpr int kPatchTile = 32;
constexpr int kMaxPatchSamples = kMaxPatchSide * kMaxPatchSide;

template <class T>
struct PlaneTile {
  T w[kPatchTile], wx[kPatchTile], wy[kPatchTile];

  core::Plane<T> get(int p) const { return {w[p], wx[p], wy[p]}; }
  void set(int p, const core::Plane<T>& plane) { w[p] = plane.w, wx[p] = plane.wx, wy[p] = plane.wy; }
};

// The reference's side of a window: weights that sum to 1, weights times centred grey values, the variance.
template <class T>
struct WindowTile {
  std::int32_t pixel[kPatchTile];
  T u[kPatchTile], v[kPatchTile];
  T weight[kMaxPatchSamples][kPatchTile], weighted[kMaxPatchSamples][kPatchTile];
  T variance[kPatchTile];
  int n;
};

// What does not change while one reference view is matched.
template <class T>
struct PatchScene {
  const PatchMatchArgs<T>& args;
  std::vector<core::PixelMap<T>> maps;  // of the sources
  std::vector<const T*> images;         // of the sources
  T K[5];                               // fx, skew, cx, fy, cy of the reference
  T dx[kMaxPatchSamples], dy[kMaxPatchSamples], distance2[kMaxPatchSamples];
  int n_samples;

  explicit PatchScene(const PatchMatchArgs<T>& a) : args(a), n_samples(a.side * a.side) {
    const std::int64_t n_pixels = a.views.height * a.views.width;
    const T* K_ref = a.views.K + 9 * a.reference;
    core::load_pinhole(K_ref, K);
    for (std::int64_t s = 0; s < a.n_sources; ++s) {
      const std::int64_t view = a.sources[s];
      maps.push_back(core::make_pixel_map(K_ref, a.views.cam_from_world + 12 * a.reference, a.views.K + 9 * view,
                                          a.views.cam_from_world + 12 * view));
      images.push_back(a.images + view * n_pixels);
    }
    for (int i = 0; i < n_samples; ++i) {
      const core::WindowSample<T> sample = core::window_sample<T>(i, a.side, a.step);
      dx[i] = sample.dx, dy[i] = sample.dy, distance2[i] = sample.distance2;
    }
  }
};

// The windows around pixels[0..n) of the reference; a tile that is not full repeats its last one.
template <class T>
void load_windows(const PatchScene<T>& scene, const std::int32_t* pixels, int n, WindowTile<T>& out) {
  const auto& a = scene.args;
  const std::int32_t width = static_cast<std::int32_t>(a.views.width),
                     height = static_cast<std::int32_t>(a.views.height);
  const T* image = a.images + a.reference * a.views.height * a.views.width;
  T centre[kPatchTile], sum[kPatchTile] = {}, mean[kPatchTile] = {};
  std::int32_t column[kPatchTile], row[kPatchTile];
  out.n = n;
  for (int p = 0; p < kPatchTile; ++p) {
    out.pixel[p] = pixels[std::min(p, n - 1)];
    column[p] = out.pixel[p] % width, row[p] = out.pixel[p] / width;
    out.u[p] = static_cast<T>(column[p]) + T(0.5), out.v[p] = static_cast<T>(row[p]) + T(0.5);
    centre[p] = image[out.pixel[p]];
    out.variance[p] = T(0);
  }
  for (int i = 0; i < scene.n_samples; ++i) {
    const std::int32_t dx = static_cast<std::int32_t>(scene.dx[i]), dy = static_cast<std::int32_t>(scene.dy[i]);
    const T distance2 = scene.distance2[i];
#pragma omp simd
    for (int p = 0; p < kPatchTile; ++p) {
      const std::int32_t x = std::min(std::max(column[p] + dx, 0), width - 1);
      const std::int32_t y = std::min(std::max(row[p] + dy, 0), height - 1);
      const T grey = image[y * width + x];
      const T weight = core::support_weight(grey - centre[p], distance2);
      out.weight[i][p] = weight, out.weighted[i][p] = grey;
      sum[p] += weight, mean[p] += weight * grey;
    }
  }
  for (int p = 0; p < kPatchTile; ++p) mean[p] /= sum[p], sum[p] = T(1) / sum[p];
  for (int i = 0; i < scene.n_samples; ++i) {
#pragma omp simd
    for (int p = 0; p < kPatchTile; ++p) {
      const T centred = out.weighted[i][p] - mean[p], weight = out.weight[i][p] * sum[p];
      out.weight[i][p] = weight, out.weighted[i][p] = weight * centred;
      out.variance[p] += weight * centred * centred;
    }
  }
}

// Correlation of the windows with source number s, each over its own plane; -1 where the source does not see the
// centre.
template <class T>
void correlate(const PatchScene<T>& scene, const WindowTile<T>& tile, const PlaneTile<T>& plane, std::int64_t s,
               T* result) {
  const core::PixelMap<T> m = scene.maps[s];
  const T* image = scene.images[s];
  const std::int32_t width = static_cast<std::int32_t>(scene.args.views.width);
  const T last_x = static_cast<T>(width - 1), last_y = static_cast<T>(scene.args.views.height - 1);
  T x0[kPatchTile], y0[kPatchTile], z0[kPatchTile], sum[kPatchTile] = {}, sum2[kPatchTile] = {}, cross[kPatchTile] = {};
#pragma omp simd
  for (int p = 0; p < kPatchTile; ++p) {
    const core::SourcePoint<T> centre = core::map_pixel(m, tile.u[p], tile.v[p], plane.w[p]);
    x0[p] = centre.x, y0[p] = centre.y, z0[p] = centre.z;
  }
  for (int i = 0; i < scene.n_samples; ++i) {
    const T dx = scene.dx[i], dy = scene.dy[i];
    const core::SourcePoint<T> step = core::map_step(m, dx, dy);
#pragma omp simd
    for (int p = 0; p < kPatchTile; ++p) {
      const T dw = plane.wx[p] * dx + plane.wy[p] * dy;
      const core::SourceTap<T> tap = core::source_tap(
          m, core::SourcePoint<T>{x0[p] + step.x, y0[p] + step.y, z0[p] + step.z}, dw, last_x, last_y, width);
      const std::int32_t upper = tap.at, lower = upper + tap.below, right = tap.right;
      const T grey =
          core::bilinear(image[upper], image[upper + right], image[lower], image[lower + right], tap.ax, tap.ay);
      sum[p] += tile.weight[i][p] * grey;
      sum2[p] += tile.weight[i][p] * grey * grey;
      cross[p] += tile.weighted[i][p] * grey;
    }
  }
  const T right_edge = static_cast<T>(width), low_edge = static_cast<T>(scene.args.views.height);
#pragma omp simd
  for (int p = 0; p < kPatchTile; ++p) {
    const bool seen = core::is_in_source(core::SourcePoint<T>{x0[p], y0[p], z0[p]}, right_edge, low_edge);
    const T ncc =
        core::correlation(cross[p], tile.variance[p], sum2[p] - sum[p] * sum[p], static_cast<T>(core::kGreyNoise2));
    result[p] = seen ? ncc : T(-1);
  }
}

// Mean of the best n_best correlations over all sources; where wanted, the sources that correlate well, as bits.
template <class T>
void score_planes(const PatchScene<T>& scene, const WindowTile<T>& tile, const PlaneTile<T>& plane, T* score,
                  std::int32_t* chosen = nullptr) {
  const int n_best = scene.args.n_best;
  T best[kMaxPatchBest][kPatchTile], ncc[kPatchTile];
  for (int b = 0; b < n_best; ++b) std::fill(best[b], best[b] + kPatchTile, T(-1));
  if (chosen) std::fill(chosen, chosen + kPatchTile, 0);
  for (std::int64_t s = 0; s < scene.args.n_sources; ++s) {
    correlate(scene, tile, plane, s, ncc);
    if (chosen)
      for (int p = 0; p < kPatchTile; ++p) chosen[p] |= static_cast<std::int32_t>(ncc[p] >= T(core::kChosen)) << s;
    for (int b = 0; b < n_best; ++b) {
#pragma omp simd
      for (int p = 0; p < kPatchTile; ++p) core::keep_larger(best[b][p], ncc[p]);
    }
  }
  std::fill(score, score + kPatchTile, T(0));
  for (int b = 0; b < n_best; ++b)
    for (int p = 0; p < kPatchTile; ++p) score[p] += best[b][p] / static_cast<T>(n_best);
}

}  // namespace uner3d::cpu
