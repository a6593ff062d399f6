// Red-black propagation (Galliani et al. 2015): pixels of one colour of a chessboard change at a time and read planes
// of the other colour alone, so that the result depends on neither threads nor their order.
#include "../ops/patch_match.h"

#include <cmath>

#include "parallel.h"
#include "patch_tiles.h"

namespace uner3d::cpu {
namespace {
constexpr std::int64_t kTilesPerChunk = 8;
constexpr int kNearSteps[4][2] = {{-1, 0}, {1, 0}, {0, -1}, {0, 1}};
constexpr int kFarSteps[3] = {5, 3, 7};  // odd, so that the other colour is met; another one each iteration
constexpr int kFarDirections = 4;
constexpr int kDraws = 3;            // perturbations an iteration: depth, slopes, both
constexpr float kSlopeReach = 0.5f;  // tangent by which the first iteration turns a plane at most
constexpr float kSteepest = 5.0f;    // tangent of the steepest plane, about 79 degrees
constexpr float kLeastGain = 1e-4f;  // of the score, for a plane to be replaced

// Planes and scores of all pixels; those left out have w = 0.
template <class T>
struct State {
  std::vector<core::Plane<T>> planes;
  std::vector<T> scores;
  std::vector<std::int32_t> pixels[2];  // that take part, by colour
};

template <class T>
State<T> start(const PatchScene<T>& scene) {
  const auto& a = scene.args;
  const std::int64_t width = a.views.width, n = a.views.height * width;
  const T* pose = a.views.cam_from_world + 12 * a.reference;
  State<T> state;
  state.planes.assign(static_cast<std::size_t>(n), core::Plane<T>{0, 0, 0});
  state.scores.assign(static_cast<std::size_t>(n), T(-1));
  for (std::int64_t i = 0; i < n; ++i) {
    const T z = a.depth[i];
    if (!(z > T(0)) || !std::isfinite(z)) continue;
    const T* in_world = a.normal + 3 * i;
    T normal[3];
    for (int k = 0; k < 3; ++k)
      normal[k] = pose[4 * k] * in_world[0] + pose[4 * k + 1] * in_world[1] + pose[4 * k + 2] * in_world[2];
    const std::int64_t column = i % width, row = i / width;
    state.planes[i] = core::plane_from_normal(std::min(std::max(z, a.near), a.far), normal[0], normal[1], normal[2],
                                              static_cast<T>(column) + T(0.5), static_cast<T>(row) + T(0.5), scene.K);
    state.pixels[(column + row) & 1].push_back(static_cast<std::int32_t>(i));
  }
  return state;
}

// Calls use(windows) for tiles of the pixels, over threads.
template <class T, class Use>
void for_windows(const PatchScene<T>& scene, const std::vector<std::int32_t>& pixels, int n_threads, const Use& use) {
  const std::int64_t n_pixels = static_cast<std::int64_t>(pixels.size());
  parallel_for(n_pixels, kTilesPerChunk * kPatchTile, n_threads, [&](std::int64_t begin, std::int64_t end) {
    WindowTile<T> windows;
    for (std::int64_t i = begin; i < end; i += kPatchTile) {
      load_windows(scene, pixels.data() + i, static_cast<int>(std::min<std::int64_t>(kPatchTile, end - i)), windows);
      use(windows);
    }
  });
}

template <class T>
void load_planes(const State<T>& state, const WindowTile<T>& windows, PlaneTile<T>& tile) {
  for (int p = 0; p < kPatchTile; ++p) {
    const core::Plane<T>& plane = state.planes[windows.pixel[p]];
    tile.w[p] = plane.w, tile.wx[p] = plane.wx, tile.wy[p] = plane.wy;
  }
}

// Whether a plane may stand: its depth within bounds, not too steep.
template <class T>
bool is_allowed(const PatchScene<T>& scene, T w, T wx, T wy) {
  const T steepest = T(kSteepest) * w;
  return (w * scene.args.near <= T(1)) & (w * scene.args.far >= T(1)) & (std::abs(wx) * scene.K[0] <= steepest) &
         (std::abs(wy) * scene.K[3] <= steepest);
}

// The best plane of each pixel so far, and the trial of others.
template <class T>
struct Trial {
  const PatchScene<T>& scene;
  const WindowTile<T>& windows;
  PlaneTile<T> best;
  T score[kPatchTile];

  void take(const PlaneTile<T>& candidate) {
    T found[kPatchTile];
    score_planes(scene, windows, candidate, found);
    for (int p = 0; p < kPatchTile; ++p) {
      if (!(found[p] > score[p] + T(kLeastGain))) continue;
      if (!is_allowed(scene, candidate.w[p], candidate.wx[p], candidate.wy[p])) continue;
      score[p] = found[p];
      best.w[p] = candidate.w[p], best.wx[p] = candidate.wx[p], best.wy[p] = candidate.wy[p];
    }
  }
};

// The planes of the pixels (dx, dy) away, carried on to here; the own ones where there is none.
template <class T>
void propagate(const State<T>& state, int dx, int dy, Trial<T>& trial) {
  const std::int64_t width = trial.scene.args.views.width, height = trial.scene.args.views.height;
  PlaneTile<T> candidate = trial.best;
  for (int p = 0; p < kPatchTile; ++p) {
    const std::int64_t column = trial.windows.pixel[p] % width + dx, row = trial.windows.pixel[p] / width + dy;
    if (column < 0 || row < 0 || column >= width || row >= height) continue;
    const core::Plane<T>& plane = state.planes[row * width + column];
    if (!(plane.w > T(0))) continue;
    candidate.w[p] = plane.w - plane.wx * static_cast<T>(dx) - plane.wy * static_cast<T>(dy);
    candidate.wx[p] = plane.wx, candidate.wy[p] = plane.wy;
  }
  trial.take(candidate);
}

// Inverse depth that moves a pixel by one in the sources: the mean of their sensitivities.
template <class T>
void inverse_depth_of_pixel(const PatchScene<T>& scene, const WindowTile<T>& windows, const T* inverse_depth,
                            T* result) {
  T moved[kPatchTile] = {};
  for (const core::PixelMap<T>& m : scene.maps) {
    for (int p = 0; p < kPatchTile; ++p) {
      const T u = windows.u[p], v = windows.v[p], w = inverse_depth[p];
      const T inv_z = T(1) / (m.a[2][0] * u + m.a[2][1] * v + m.a[2][2] + m.b[2] * w);
      const T x = (m.a[0][0] * u + m.a[0][1] * v + m.a[0][2] + m.b[0] * w) * inv_z;
      const T y = (m.a[1][0] * u + m.a[1][1] * v + m.a[1][2] + m.b[1] * w) * inv_z;
      const T du = (m.b[0] - x * m.b[2]) * inv_z, dv = (m.b[1] - y * m.b[2]) * inv_z;
      moved[p] += std::sqrt(du * du + dv * dv);
    }
  }
  for (int p = 0; p < kPatchTile; ++p) result[p] = static_cast<T>(scene.maps.size()) / std::max(moved[p], T(1e-12));
}

template <class T>
void perturb(const PatchScene<T>& scene, int iteration, Trial<T>& trial) {
  T unit[kPatchTile];
  inverse_depth_of_pixel(scene, trial.windows, trial.best.w, unit);
  const T shrink = std::ldexp(T(1), -iteration);
  for (int draw = 0; draw < kDraws; ++draw) {
    const T depth_reach = draw == 1 ? T(0) : shrink * scene.args.reach;
    const T slope_reach = draw == 0 ? T(0) : shrink * T(kSlopeReach);
    PlaneTile<T> candidate = trial.best;
    for (int p = 0; p < kPatchTile; ++p) {
      const auto random = [&](int number) {
        return static_cast<T>(core::signed_uniform(scene.args.seed, static_cast<std::uint32_t>(trial.windows.pixel[p]),
                                                   static_cast<std::uint32_t>(iteration), 3u * draw + number));
      };
      const T slope = slope_reach * candidate.w[p];
      candidate.wx[p] += slope * random(1) / scene.K[0];
      candidate.wy[p] += slope * random(2) / scene.K[3];
      candidate.w[p] += depth_reach * unit[p] * random(0);
    }
    trial.take(candidate);
  }
}

template <class T>
void improve(const PatchScene<T>& scene, int iteration, const WindowTile<T>& windows, State<T>& state) {
  Trial<T> trial{scene, windows, {}, {}};
  load_planes(state, windows, trial.best);
  for (int p = 0; p < kPatchTile; ++p) trial.score[p] = state.scores[windows.pixel[p]];
  for (const auto& step : kNearSteps) propagate(state, step[0], step[1], trial);
  const int far = kFarSteps[iteration % 3];
  for (int d = 0; d < kFarDirections; ++d) propagate(state, kNearSteps[d][0] * far, kNearSteps[d][1] * far, trial);
  perturb(scene, iteration, trial);
  for (int p = 0; p < windows.n; ++p) {
    if (windows.variance[p] < scene.args.least_variance) continue;  // without texture the scores say nothing
    state.planes[windows.pixel[p]] = {trial.best.w[p], trial.best.wx[p], trial.best.wy[p]};
    state.scores[windows.pixel[p]] = trial.score[p];
  }
}

template <class T>
void write(const PatchScene<T>& scene, const State<T>& state, const WindowTile<T>& windows) {
  const auto& a = scene.args;
  const T* pose = a.views.cam_from_world + 12 * a.reference;
  PlaneTile<T> planes;
  T score[kPatchTile];
  std::int32_t chosen[kPatchTile];
  load_planes(state, windows, planes);
  score_planes(scene, windows, planes, score, chosen);
  for (int p = 0; p < windows.n; ++p) {
    const std::int64_t i = windows.pixel[p];
    T normal[3];
    core::normal_from_plane(state.planes[i], windows.u[p], windows.v[p], scene.K, normal);
    for (int k = 0; k < 3; ++k)
      a.out_normal[3 * i + k] = pose[k] * normal[0] + pose[4 + k] * normal[1] + pose[8 + k] * normal[2];
    a.out_depth[i] = T(1) / state.planes[i].w;
    a.score[i] = score[p];
    a.chosen[i] = chosen[p];
  }
}
}  // namespace

template <class T>
void patch_match_forward(const PatchMatchArgs<T>& a, int n_threads) {
  const std::int64_t n = a.views.height * a.views.width;
  std::fill(a.out_depth, a.out_depth + n, T(0));
  std::fill(a.out_normal, a.out_normal + 3 * n, T(0));
  std::fill(a.score, a.score + n, T(0));
  std::fill(a.chosen, a.chosen + n, 0);
  const PatchScene<T> scene(a);
  State<T> state = start(scene);
  for (const auto& pixels : state.pixels)
    for_windows(scene, pixels, n_threads, [&](const WindowTile<T>& windows) {
      PlaneTile<T> planes;
      T score[kPatchTile];
      load_planes(state, windows, planes);
      score_planes(scene, windows, planes, score);
      for (int p = 0; p < windows.n; ++p) state.scores[windows.pixel[p]] = score[p];
    });
  for (int iteration = 0; iteration < a.n_iterations; ++iteration)
    for (const auto& pixels : state.pixels)
      for_windows(scene, pixels, n_threads,
                  [&](const WindowTile<T>& windows) { improve(scene, iteration, windows, state); });
  for (const auto& pixels : state.pixels)
    for_windows(scene, pixels, n_threads, [&](const WindowTile<T>& windows) { write(scene, state, windows); });
}

template void patch_match_forward<float>(const PatchMatchArgs<float>&, int);
template void patch_match_forward<double>(const PatchMatchArgs<double>&, int);

}  // namespace uner3d::cpu
