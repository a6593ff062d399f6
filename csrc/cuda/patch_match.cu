// A thread matches a pixel from its first plane to its last, as the CPU does: the pixels of one colour of a chessboard
// change at a time, a launch each, and read planes of the other colour alone. Neighbouring threads hold neighbouring
// pixels of a colour, whose windows fall close together in the sources.
#include "../core/camera.h"
#include "../core/patch_search.h"
#include "../ops/patch_match.h"
#include "enqueue.cuh"
#include "patch_window.cuh"
#include "scratch.cuh"

namespace uner3d::cuda {
namespace {

using Args = PatchMatchArgs<float>;
using Map = core::PixelMap<float>;
using Plane = core::Plane<float>;

constexpr float kNoPlane = 0.0f;  // inverse depth of pixels that are left out

// Made once a call; all threads read the same place at a time.
struct Constants {
  Map maps[kMaxPatchSources];                      // of the sources
  float K[5];                                      // fx, skew, cx, fy, cy of the reference
  float distance2[kMaxPatchSide * kMaxPatchSide];  // of the samples of a window, from its centre
};

// What all launches of a call share, by value. `args.sources` is of the host and not to be read by kernels.
struct Search {
  Args args;
  Constants* constants;
  float4* state;  // (n_pixels,) w, wx, wy of the plane, and its score
  std::int32_t source[kMaxPatchSources];
};

Search make_search(const Args& args, Scratch& scratch) {
  Search search{args, scratch.take<Constants>(1), scratch.take<float4>(args.views.height * args.views.width), {}};
  for (std::int64_t s = 0; s < args.n_sources; ++s) search.source[s] = static_cast<std::int32_t>(args.sources[s]);
  return search;
}

__device__ __forceinline__ std::int64_t n_pixels(const Search& s) { return s.args.views.height * s.args.views.width; }

__device__ __forceinline__ const float* pose_of(const Search& s) {
  return s.args.views.cam_from_world + 12 * s.args.reference;
}

__device__ __forceinline__ WindowShape shape_of(const Search& s) {
  return {static_cast<std::int32_t>(s.args.views.height), static_cast<std::int32_t>(s.args.views.width), s.args.side,
          s.args.step, s.constants->distance2};
}

__device__ __forceinline__ Window load_window(const Search& s, const Pixel& pixel) {
  return load_window(shape_of(s), pixel, s.args.images + s.args.reference * n_pixels(s));
}

// Correlation of the window with a source over a plane; -1 where the source does not see the centre.
__device__ __forceinline__ float correlate(const Search& s, const Window& window, const Plane& plane, const Map& m,
                                           const float* image) {
  const auto width = static_cast<std::int32_t>(s.args.views.width);
  const float right = static_cast<float>(width), low = static_cast<float>(s.args.views.height);
  const core::SourcePoint<float> centre = core::map_pixel(m, window.pixel.u, window.pixel.v, plane.w);
  if (!core::is_in_source(centre, right, low)) return -1.0f;
  float sum = 0.0f, sum2 = 0.0f, cross = 0.0f;
  for_samples(shape_of(s), window.pixel, window.image, window.centre, [&](float dx, float dy, float own, float weight) {
    const float dw = plane.wx * dx + plane.wy * dy;
    const auto tap =
        core::source_tap(m, core::moved(centre, core::map_step(m, dx, dy)), dw, right - 1.0f, low - 1.0f, width);
    const float* corner = image + tap.at;
    const float grey = core::bilinear(__ldg(corner), __ldg(corner + tap.right), __ldg(corner + tap.below),
                                      __ldg(corner + (tap.below + tap.right)), tap.ax, tap.ay);
    weight *= window.inv_weight;
    sum += weight * grey, sum2 += weight * grey * grey, cross += weight * (own - window.mean) * grey;
  });
  return core::correlation(cross, window.variance, sum2 - sum * sum, static_cast<float>(core::kGreyNoise2));
}

// Mean of the best correlations over all sources; `chosen` gets a bit for each that correlates well.
__device__ __forceinline__ float score_plane(const Search& s, const Window& window, const Plane& plane,
                                             std::int32_t& chosen) {
  const std::int64_t size = n_pixels(s);
  float best[kMaxPatchBest];
  UNER3D_UNROLL
  for (int b = 0; b < kMaxPatchBest; ++b) best[b] = -1.0f;
  chosen = 0;
  UNER3D_ROLL
  for (int i = 0; i < static_cast<int>(s.args.n_sources); ++i) {
    float ncc = correlate(s, window, plane, s.constants->maps[i], s.args.images + s.source[i] * size);
    chosen |= static_cast<std::int32_t>(ncc >= core::kChosen) << i;
    UNER3D_UNROLL
    for (int b = 0; b < kMaxPatchBest; ++b)
      if (b < s.args.n_best) core::keep_larger(best[b], ncc);
  }
  float score = 0.0f;
  UNER3D_UNROLL
  for (int b = 0; b < kMaxPatchBest; ++b)
    if (b < s.args.n_best) score += best[b] / static_cast<float>(s.args.n_best);
  return score;
}

// Inverse depth that moves the pixel by one in the sources: the mean of their speeds.
__device__ __forceinline__ float inverse_depth_of_pixel(const Search& s, const Pixel& pixel, float w) {
  float moved = 0.0f;
  const int n_sources = static_cast<int>(s.args.n_sources);
  for (int i = 0; i < n_sources; ++i) moved += core::source_speed(s.constants->maps[i], pixel.u, pixel.v, w);
  return core::inverse_depth_of_pixel(moved, n_sources);
}

// Plane number `trial` of an iteration: those of other pixels come first, then the perturbations. False: there is none.
__device__ __forceinline__ bool propose(const Search& s, const Pixel& pixel, const Plane& best, float unit,
                                        int iteration, int trial, Plane& plane) {
  if (trial >= core::kPropagations) {
    plane = core::perturbed(best, unit, s.args.reach, s.constants->K, s.args.seed,
                            static_cast<std::uint32_t>(pixel.index), iteration, trial - core::kPropagations);
    return true;
  }
  const core::PixelStep step = core::propagation_step(trial, iteration);
  const std::int32_t column = pixel.column + step.dx, row = pixel.row + step.dy;
  const auto width = static_cast<std::int32_t>(s.args.views.width);
  if (column < 0 || row < 0 || column >= width || row >= static_cast<std::int32_t>(s.args.views.height)) return false;
  const float4 there = s.state[row * width + column];
  if (!(there.x > kNoPlane)) return false;
  plane = core::carried(Plane{there.x, there.y, there.z}, step);
  return true;
}

// One block.
__global__ void __launch_bounds__(kThreads) make_constants(const __grid_constant__ Search s) {
  const int i = static_cast<int>(threadIdx.x);
  const auto& views = s.args.views;
  const float* K = views.K + 9 * s.args.reference;
  if (i < s.args.n_sources)
    s.constants->maps[i] =
        core::make_pixel_map(K, pose_of(s), views.K + 9 * s.source[i], views.cam_from_world + 12 * s.source[i]);
  write_distances(i, s.args.side, s.constants->distance2);
  if (i == 0) core::load_pinhole(K, s.constants->K);
}

// First planes and their scores.
__global__ void __launch_bounds__(kThreads) start(const __grid_constant__ Search s) {
  const auto width = static_cast<std::int32_t>(s.args.views.width);
  grid_stride(n_pixels(s), [&](std::int64_t i) {
    const float z = s.args.depth[i];
    if (!(z > 0.0f) || !isfinite(z)) {
      s.state[i] = make_float4(kNoPlane, 0.0f, 0.0f, 0.0f);
      return;
    }
    const std::int32_t index = static_cast<std::int32_t>(i);
    const Pixel pixel = pixel_at(index % width, index / width, width);
    const Plane plane = core::start_plane(z, s.args.near, s.args.far, s.args.normal + 3 * i, pose_of(s), pixel.u,
                                          pixel.v, s.constants->K);
    std::int32_t chosen;
    const float score = score_plane(s, load_window(s, pixel), plane, chosen);
    s.state[i] = make_float4(plane.w, plane.wx, plane.wy, score);
  });
}

// An iteration over the pixels of one colour, 0 or 1. Left alone, the compiler spills registers to fit more blocks.
__global__ void __launch_bounds__(kThreads, 3) improve(const __grid_constant__ Search s, int iteration, int colour) {
  const auto width = static_cast<std::int32_t>(s.args.views.width);
  const std::int32_t half = (width + 1) / 2;
  grid_stride(half * s.args.views.height, [&](std::int64_t i) {
    const auto row = static_cast<std::int32_t>(i / half), pair = static_cast<std::int32_t>(i % half);
    const std::int32_t column = 2 * pair + ((row + colour) & 1);
    if (column >= width) return;
    const Pixel pixel = pixel_at(column, row, width);
    const float4 before = s.state[pixel.index];
    if (!(before.x > kNoPlane)) return;
    const Window window = load_window(s, pixel);
    if (window.variance < s.args.least_variance) return;  // without texture the scores say nothing
    Plane best{before.x, before.y, before.z}, plane = best;
    float score = before.w, unit = 0.0f;
    UNER3D_ROLL
    for (int trial = 0; trial < core::kPropagations + core::kDraws; ++trial) {
      if (trial == core::kPropagations) unit = inverse_depth_of_pixel(s, pixel, best.w);
      if (!propose(s, pixel, best, unit, iteration, trial, plane)) continue;
      if (!core::is_allowed(plane, s.args.near, s.args.far, s.constants->K)) continue;
      std::int32_t chosen;
      const float found = score_plane(s, window, plane, chosen);
      if (found > score + core::kLeastGain) best = plane, score = found;
    }
    s.state[pixel.index] = make_float4(best.w, best.wx, best.wy, score);
  });
}

__global__ void __launch_bounds__(kThreads) write(const __grid_constant__ Search s) {
  const auto width = static_cast<std::int32_t>(s.args.views.width);
  grid_stride(n_pixels(s), [&](std::int64_t i) {
    const float4 found = s.state[i];
    float depth = 0.0f, score = 0.0f, normal[3] = {0.0f, 0.0f, 0.0f};
    std::int32_t chosen = 0;
    if (found.x > kNoPlane) {
      const std::int32_t index = static_cast<std::int32_t>(i);
      const Pixel pixel = pixel_at(index % width, index / width, width);
      const Plane plane{found.x, found.y, found.z};
      core::world_normal(plane, pose_of(s), pixel.u, pixel.v, s.constants->K, normal);
      depth = 1.0f / plane.w;
      score = score_plane(s, load_window(s, pixel), plane, chosen);
    }
    s.args.out_depth[i] = depth, s.args.score[i] = score, s.args.chosen[i] = chosen;
    for (int k = 0; k < 3; ++k) s.args.out_normal[3 * i + k] = normal[k];
  });
}

}  // namespace

std::int64_t patch_match_scratch(std::int64_t n_pixels) {
  Scratch scratch(nullptr);
  scratch.take<Constants>(1);
  scratch.take<float4>(n_pixels);
  return scratch.used();
}

void patch_match_forward(const Args& args, void* memory, int device, void* stream) {
  const std::int64_t n = args.views.height * args.views.width;
  if (n == 0) return;
  const DeviceGuard guard(device);
  Scratch scratch(memory);
  const Search search = make_search(args, scratch);
  const unsigned all = grid_size(ceil_div(n, kThreads));
  const unsigned one_colour = grid_size(ceil_div((args.views.width + 1) / 2 * args.views.height, kThreads));
  enqueue("patch_match_constants", make_constants, 1, 0, stream, search);
  enqueue("patch_match_start", start, all, 0, stream, search);
  for (int iteration = 0; iteration < args.n_iterations; ++iteration)
    for (int colour = 0; colour < 2; ++colour)
      enqueue("patch_match_improve", improve, one_colour, 0, stream, search, iteration, colour);
  enqueue("patch_match_write", write, all, 0, stream, search);
}

}  // namespace uner3d::cuda
