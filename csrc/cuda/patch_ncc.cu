// Forward: a thread for each (pixel, source). Backward: a group of lanes for each pixel, which share out its sources
// and add what they found, always in the same order.
#include "../core/patch_ncc.h"
#include "../ops/patch_ncc.h"
#include "enqueue.cuh"
#include "groups.cuh"
#include "patch_window.cuh"
#include "scratch.cuh"

namespace uner3d::cuda {
namespace {

using Args = PatchNccArgs<float>;
using Grads = PatchNccGrads<float>;
using Map = core::PixelMap<float>;
using Plane = core::Plane<float>;

constexpr int kLogSourceLanes = 3;  // lanes that share a pixel's sources

struct Ncc {
  Args args;
  Map* maps;  // (n_views, n_sources)
  float* distance2;
};

// A pixel with all that does not depend on the source.
struct Slant {
  bool valid;
  int view;
  float K[5], normal[3];  // fx, skew, cx, fy, cy; normal in the camera
  Plane plane;
  Window window;
};

Ncc make_ncc(const Args& args, Scratch& scratch) {
  return {args, scratch.take<Map>(args.views.n_views * args.n_sources),
          scratch.take<float>(kMaxPatchSide * kMaxPatchSide)};
}

__device__ __forceinline__ WindowShape shape_of(const Ncc& ncc) {
  const auto& a = ncc.args;
  return {static_cast<std::int32_t>(a.views.height), static_cast<std::int32_t>(a.views.width), a.side, a.step,
          ncc.distance2};
}

__device__ __forceinline__ const float* image_of(const Ncc& ncc, std::int64_t view) {
  return ncc.args.images + view * ncc.args.views.height * ncc.args.views.width;
}

__device__ __forceinline__ Slant load_slant(const Ncc& ncc, std::int64_t n) {
  const auto& a = ncc.args;
  const std::int64_t view = a.references[n], column = a.pixels[2 * n], row = a.pixels[2 * n + 1];
  const float z = a.depth[n];
  Slant out{};
  out.valid = view >= 0 && view < a.views.n_views && column >= 0 && row >= 0 && column < a.views.width &&
              row < a.views.height && z > 0.0f && isfinite(z);
  if (!out.valid) return out;
  out.view = static_cast<int>(view);
  core::load_pinhole(a.views.K + 9 * view, out.K);
  core::turn_normal(a.normal + 3 * n, a.views.cam_from_world + 12 * view, out.normal);
  const WindowShape shape = shape_of(ncc);
  const Pixel pixel = pixel_at(static_cast<std::int32_t>(column), static_cast<std::int32_t>(row), shape.width);
  out.plane = core::plane_from_normal(z, out.normal[0], out.normal[1], out.normal[2], pixel.u, pixel.v, out.K);
  out.window = load_window(shape, pixel, image_of(ncc, view));
  return out;
}

// Calls use(dx, dy, weight, weighted, tap, motion) for the samples of the window in a source.
template <class Use>
__device__ __forceinline__ void for_taps(const Ncc& ncc, const Slant& slant, const Map& m,
                                         const core::SourcePoint<float>& centre, const Use& use) {
  const WindowShape shape = shape_of(ncc);
  const float last_x = static_cast<float>(shape.width - 1), last_y = static_cast<float>(shape.height - 1);
  const Window& window = slant.window;
  for_samples(shape, window.pixel, window.image, window.centre, [&](float dx, float dy, float own, float weight) {
    const float dw = slant.plane.wx * dx + slant.plane.wy * dy;
    const auto p = core::moved(centre, core::map_step(m, dx, dy));
    const auto tap = core::source_tap(m, p, dw, last_x, last_y, shape.width);
    weight *= window.inv_weight;
    use(dx, dy, weight, weight * (own - window.mean), tap,
        [&] { return core::source_motion(m, p, dw, last_x, last_y); });
  });
}

// The correlation with source number s, and, where wanted, its gradient times `factor`. False: not seen there.
__device__ __forceinline__ bool correlate(const Ncc& ncc, const Slant& slant, std::int64_t s,
                                          core::Correlation<float>& out, float factor, Plane* grad) {
  const auto& a = ncc.args;
  const std::int64_t source = a.sources[s];
  if (!slant.valid || source < 0 || source >= a.views.n_views || source == slant.view) return false;
  const Map m = ncc.maps[slant.view * a.n_sources + s];
  const auto centre = core::map_pixel(m, slant.window.pixel.u, slant.window.pixel.v, slant.plane.w);
  if (!core::is_in_source(centre, static_cast<float>(a.views.width), static_cast<float>(a.views.height))) return false;
  const float* image = image_of(ncc, source);
  core::WindowSums<float> sums{};
  for_taps(ncc, slant, m, centre, [&](float, float, float weight, float weighted, const auto& tap, const auto&) {
    const float grey = core::source_grey(tap, image);
    sums.grey += weight * grey, sums.grey2 += weight * grey * grey, sums.cross += weighted * grey;
  });
  out = core::correlate_sums(sums, slant.window.variance);
  if (grad == nullptr) return true;
  Plane sum{};
  for_taps(ncc, slant, m, centre,
           [&](float dx, float dy, float weight, float weighted, const auto& tap, const auto& motion) {
             const float change = core::grey_gradient(out, weight, weighted, core::source_grey(tap, image)) *
                                  core::source_slope(tap, motion(), image);
             sum.w += change, sum.wx += change * dx, sum.wy += change * dy;
           });
  grad->w += factor * sum.w, grad->wx += factor * sum.wx, grad->wy += factor * sum.wy;
  return true;
}

__global__ void __launch_bounds__(kThreads) make_maps(const __grid_constant__ Ncc ncc) {
  const auto& a = ncc.args;
  const auto& views = a.views;
  if (blockIdx.x == 0) write_distances(static_cast<int>(threadIdx.x), a.side, ncc.distance2);
  grid_stride(views.n_views * a.n_sources, [&](std::int64_t i) {
    const std::int64_t view = i / a.n_sources, source = a.sources[i % a.n_sources];
    if (source < 0 || source >= views.n_views) return;
    ncc.maps[i] = core::make_pixel_map(views.K + 9 * view, views.cam_from_world + 12 * view, views.K + 9 * source,
                                       views.cam_from_world + 12 * source);
  });
}

__global__ void __launch_bounds__(kThreads, 3) forward(const __grid_constant__ Ncc ncc, float* scores) {
  const std::int64_t n_sources = ncc.args.n_sources;
  grid_stride(ncc.args.n_pixels * n_sources, [&](std::int64_t i) {
    core::Correlation<float> c{};
    const Slant slant = load_slant(ncc, i / n_sources);
    scores[i] = correlate(ncc, slant, i % n_sources, c, 0.0f, nullptr) ? c.ncc : -1.0f;
  });
}

__global__ void __launch_bounds__(kThreads, 2)
    backward(const __grid_constant__ Ncc ncc, const __grid_constant__ Grads g) {
  const auto& a = ncc.args;
  const Group group(kLogSourceLanes);
  for_groups(group, a.n_pixels, [&](std::int64_t n) {
    const bool exists = n < a.n_pixels;
    const Slant slant = exists ? load_slant(ncc, n) : Slant{};
    Plane grad{};
    if (slant.valid) {
      for (std::int64_t s = group.lane; s < a.n_sources; s += group.width) {
        const float factor = g.scores[n * a.n_sources + s];
        core::Correlation<float> c{};
        if (factor != 0.0f) correlate(ncc, slant, s, c, factor, &grad);
      }
    }
    grad.w = group.sum(grad.w), grad.wx = group.sum(grad.wx), grad.wy = group.sum(grad.wy);
    if (!exists || group.lane != 0) return;
    float grad_z = 0.0f, in_camera[3] = {0.0f, 0.0f, 0.0f}, in_world[3] = {0.0f, 0.0f, 0.0f};
    if (slant.valid) {
      core::plane_backward(a.depth[n], slant.normal, slant.window.pixel.u, slant.window.pixel.v, slant.K, slant.plane,
                           grad, grad_z, in_camera);
      core::turn_back(in_camera, a.views.cam_from_world + 12 * slant.view, in_world);
    }
    g.depth[n] = grad_z;
    for (int k = 0; k < 3; ++k) g.normal[3 * n + k] = in_world[k];
  });
}

Ncc prepare(const Args& args, void* memory, void* stream) {
  Scratch scratch(memory);
  const Ncc ncc = make_ncc(args, scratch);
  enqueue("patch_ncc_maps", make_maps, grid_size(ceil_div(args.views.n_views * args.n_sources, kThreads)), 0, stream,
          ncc);
  return ncc;
}

}  // namespace

std::int64_t patch_ncc_scratch(std::int64_t n_views, std::int64_t n_sources) {
  Args args{};
  args.views.n_views = n_views, args.n_sources = n_sources;
  Scratch scratch(nullptr);
  make_ncc(args, scratch);
  return scratch.used();
}

void patch_ncc_forward(const Args& args, float* scores, void* scratch, int device, void* stream) {
  if (args.n_pixels == 0) return;
  const DeviceGuard guard(device);
  const Ncc ncc = prepare(args, scratch, stream);
  enqueue("patch_ncc_forward", forward, grid_size(ceil_div(args.n_pixels * args.n_sources, kThreads)), 0, stream, ncc,
          scores);
}

void patch_ncc_backward(const Args& args, const Grads& grads, void* scratch, int device, void* stream) {
  if (args.n_pixels == 0) return;
  const DeviceGuard guard(device);
  const Ncc ncc = prepare(args, scratch, stream);
  enqueue("patch_ncc_backward", backward, group_grid(args.n_pixels, kLogSourceLanes, 1 << 20), 0, stream, ncc, grads);
}

}  // namespace uner3d::cuda
