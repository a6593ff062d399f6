// Red-black propagation (Galliani et al. 2015): pixels of one colour of a chessboard change at a time and read planes
// of the other colour alone, so that the result depends on neither threads nor their order.
#include "../ops/patch_match.h"

#include <cmath>

#include "parallel.h"
#include "patch_tiles.h"

namespace uner3d::cpu {
namespace {
constexpr std::int64_t kTilesPerChunk = 8;

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
    const std::int64_t column = i % width, row = i / width;
    state.planes[i] = core::start_plane(z, a.near, a.far, a.normal + 3 * i, pose, static_cast<T>(column) + T(0.5),
                                        static_cast<T>(row) + T(0.5), scene.K);
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
    tile.set(p, state.planes[windows.pixel[p]]);
  }
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
      if (!(found[p] > score[p] + T(core::kLeastGain))) continue;
      const core::Plane<T> plane{candidate.w[p], candidate.wx[p], candidate.wy[p]};
      if (!core::is_allowed(plane, scene.args.near, scene.args.far, scene.K)) continue;
      score[p] = found[p];
      best.set(p, plane);
    }
  }
};

// The planes of the pixels a step away, carried on to here; the own ones where there is none.
template <class T>
void propagate(const State<T>& state, const core::PixelStep& step, Trial<T>& trial) {
  const std::int64_t width = trial.scene.args.views.width, height = trial.scene.args.views.height;
  PlaneTile<T> candidate = trial.best;
  for (int p = 0; p < kPatchTile; ++p) {
    const std::int64_t column = trial.windows.pixel[p] % width + step.dx,
                       row = trial.windows.pixel[p] / width + step.dy;
    if (column < 0 || row < 0 || column >= width || row >= height) continue;
    const core::Plane<T>& plane = state.planes[row * width + column];
    if (plane.w > T(0)) candidate.set(p, core::carried(plane, step));
  }
  trial.take(candidate);
}

// Inverse depth that moves a pixel by one in the sources: the mean of their sensitivities.
template <class T>
void inverse_depth_of_pixel(const PatchScene<T>& scene, const WindowTile<T>& windows, const T* inverse_depth,
                            T* result) {
  T moved[kPatchTile] = {};
  for (const core::PixelMap<T>& m : scene.maps)
    for (int p = 0; p < kPatchTile; ++p)
      moved[p] += core::source_speed(m, windows.u[p], windows.v[p], inverse_depth[p]);
  for (int p = 0; p < kPatchTile; ++p)
    result[p] = core::inverse_depth_of_pixel(moved[p], static_cast<int>(scene.maps.size()));
}

template <class T>
void perturb(const PatchScene<T>& scene, int iteration, Trial<T>& trial) {
  T unit[kPatchTile];
  inverse_depth_of_pixel(scene, trial.windows, trial.best.w, unit);
  for (int draw = 0; draw < core::kDraws; ++draw) {
    PlaneTile<T> candidate;
    for (int p = 0; p < kPatchTile; ++p)
      candidate.set(p, core::perturbed(trial.best.get(p), unit[p], scene.args.reach, scene.K, scene.args.seed,
                                       static_cast<std::uint32_t>(trial.windows.pixel[p]), iteration, draw));
    trial.take(candidate);
  }
}

template <class T>
void improve(const PatchScene<T>& scene, int iteration, const WindowTile<T>& windows, State<T>& state) {
  Trial<T> trial{scene, windows, {}, {}};
  load_planes(state, windows, trial.best);
  for (int p = 0; p < kPatchTile; ++p) trial.score[p] = state.scores[windows.pixel[p]];
  for (int i = 0; i < core::kPropagations; ++i) propagate(state, core::propagation_step(i, iteration), trial);
  perturb(scene, iteration, trial);
  for (int p = 0; p < windows.n; ++p) {
    if (windows.variance[p] < scene.args.least_variance) continue;  // without texture the scores say nothing
    state.planes[windows.pixel[p]] = trial.best.get(p);
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
    core::world_normal(state.planes[i], pose, windows.u[p], windows.v[p], scene.K, a.out_normal + 3 * i);
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
