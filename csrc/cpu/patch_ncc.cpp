// A pixel at a time: its window is loaded once for all sources, and loops over the window's samples vectorise. Windows
// are filled up with samples without weight to whole vectors: what a vector leaves over would run one by one.
#include "../ops/patch_ncc.h"

#include <cmath>
#include <vector>

#include "../core/patch_ncc.h"
#include "parallel.h"

namespace uner3d::cpu {
namespace {
constexpr std::int64_t kPixelsPerChunk = 64;
constexpr int kLanes = 16;
constexpr int kMostSamples = (kMaxPatchSide * kMaxPatchSide + kLanes - 1) / kLanes * kLanes;

// What all pixels share.
template <class T>
struct NccScene {
  const PatchNccArgs<T>& args;
  std::vector<core::PixelMap<T>> maps;  // (n_views, n_sources)
  T dx[kMostSamples] = {}, dy[kMostSamples] = {}, distance2[kMostSamples] = {}, counts[kMostSamples] = {};
  int n_samples;  // those without weight, at the centre, included

  explicit NccScene(const PatchNccArgs<T>& a) : args(a), n_samples((a.side * a.side + kLanes - 1) / kLanes * kLanes) {
    const auto& views = a.views;
    maps.resize(static_cast<std::size_t>(views.n_views * a.n_sources));
    for (std::int64_t v = 0; v < views.n_views; ++v)
      for (std::int64_t s = 0; s < a.n_sources; ++s) {
        const std::int64_t source = a.sources[s];
        if (source < 0 || source >= views.n_views) continue;
        maps[v * a.n_sources + s] = core::make_pixel_map(views.K + 9 * v, views.cam_from_world + 12 * v,
                                                         views.K + 9 * source, views.cam_from_world + 12 * source);
      }
    for (int i = 0; i < a.side * a.side; ++i) {
      const core::WindowSample<T> sample = core::window_sample<T>(i, a.side, a.step);
      dx[i] = sample.dx, dy[i] = sample.dy, distance2[i] = sample.distance2, counts[i] = T(1);
    }
  }

  const T* image(std::int64_t view) const { return args.images + view * args.views.height * args.views.width; }
};

// A pixel's plane and the reference's side of its window.
template <class T>
struct NccWindow {
  std::int64_t view;
  T u, v, K[5], normal[3];  // normal: in the camera
  core::Plane<T> plane;
  T weight[kMostSamples], weighted[kMostSamples], variance;
};

// False where the pixel lies nowhere or has no depth.
template <class T>
bool load_window(const NccScene<T>& scene, std::int64_t n, NccWindow<T>& out) {
  const auto& a = scene.args;
  const std::int64_t width = a.views.width, height = a.views.height, column = a.pixels[2 * n],
                     row = a.pixels[2 * n + 1];
  const T z = a.depth[n];
  out.view = a.references[n];
  if (out.view < 0 || out.view >= a.views.n_views || column < 0 || row < 0 || column >= width || row >= height ||
      !(z > T(0)) || !std::isfinite(z))
    return false;
  const T *K = a.views.K + 9 * out.view, *pose = a.views.cam_from_world + 12 * out.view, *image = scene.image(out.view);
  core::load_pinhole(K, out.K);
  out.u = static_cast<T>(column) + T(0.5), out.v = static_cast<T>(row) + T(0.5);
  core::turn_normal(a.normal + 3 * n, pose, out.normal);
  out.plane = core::plane_from_normal(z, out.normal[0], out.normal[1], out.normal[2], out.u, out.v, out.K);
  const T centre = image[row * width + column];
  const auto last_x = static_cast<std::int32_t>(width - 1), last_y = static_cast<std::int32_t>(height - 1);
  const auto at_x = static_cast<std::int32_t>(column), at_y = static_cast<std::int32_t>(row);
  T sum = 0, mean = 0;
#pragma omp simd reduction(+ : sum, mean)
  for (int i = 0; i < scene.n_samples; ++i) {
    const std::int32_t x = std::min(std::max(at_x + static_cast<std::int32_t>(scene.dx[i]), 0), last_x);
    const std::int32_t y = std::min(std::max(at_y + static_cast<std::int32_t>(scene.dy[i]), 0), last_y);
    const T grey = image[y * (last_x + 1) + x];
    const T weight = scene.counts[i] * core::support_weight(grey - centre, scene.distance2[i]);
    out.weight[i] = weight, out.weighted[i] = grey;
    sum += weight, mean += weight * grey;
  }
  mean /= sum;
  const T inv_sum = T(1) / sum;
  T variance = 0;
#pragma omp simd reduction(+ : variance)
  for (int i = 0; i < scene.n_samples; ++i) {
    const T centred = out.weighted[i] - mean;
    out.weight[i] *= inv_sum, out.weighted[i] = out.weight[i] * centred;
    variance += out.weighted[i] * centred;
  }
  out.variance = variance;
  return true;
}

// Places of samples in a source, apart from what is read there: loops that did both were not vectorised.
template <class T>
struct Taps {
  std::int32_t at[kLanes], right[kLanes], below[kLanes];
  T ax[kLanes], ay[kLanes], du[kLanes], dv[kLanes];
};

// The correlation with source number s, the samples' grey values, and, where wanted, how they change with the inverse
// depth. False where the source does not see the pixel's point.
template <bool kSlopes, class T>
bool correlate(const NccScene<T>& scene, const NccWindow<T>& window, std::int64_t s, core::Correlation<T>& out, T* grey,
               T* slope) {
  const auto& a = scene.args;
  const std::int64_t source = a.sources[s];
  if (source < 0 || source >= a.views.n_views || source == window.view) return false;
  const core::PixelMap<T> m = scene.maps[window.view * a.n_sources + s];
  const core::SourcePoint<T> centre = core::map_pixel(m, window.u, window.v, window.plane.w);
  const auto width = static_cast<std::int32_t>(a.views.width);
  const T right = static_cast<T>(width), low = static_cast<T>(a.views.height);
  if (!core::is_in_source(centre, right, low)) return false;
  const T *image = scene.image(source), last_x = right - T(1), last_y = low - T(1);
  const T plane_x = window.plane.wx, plane_y = window.plane.wy;
  T sum[kLanes] = {}, sum2[kLanes] = {}, cross[kLanes] = {};
  for (int first = 0; first < scene.n_samples; first += kLanes) {
    const T *dx = scene.dx + first, *dy = scene.dy + first;
    const T *weight = window.weight + first, *weighted = window.weighted + first;
    Taps<T> taps;
    T value[kLanes], change[kLanes], x[kLanes], y[kLanes], z[kLanes];
    for (int i = 0; i < kLanes; ++i) {
      x[i] = centre.x + (m.a[0][0] * dx[i] + m.a[0][1] * dy[i]);
      y[i] = centre.y + (m.a[1][0] * dx[i] + m.a[1][1] * dy[i]);
      z[i] = centre.z + (m.a[2][0] * dx[i] + m.a[2][1] * dy[i]);
    }
#pragma omp simd
    for (int i = 0; i < kLanes; ++i) {
      const T dw = plane_x * dx[i] + plane_y * dy[i];
      const core::SourceTap<T> tap =
          core::source_tap(m, core::SourcePoint<T>{x[i], y[i], z[i]}, dw, last_x, last_y, width);
      taps.at[i] = tap.at, taps.right[i] = tap.right, taps.below[i] = tap.below;
      taps.ax[i] = tap.ax, taps.ay[i] = tap.ay;
      if constexpr (kSlopes) {
        const core::SourceMotion<T> motion =
            core::source_motion(m, core::SourcePoint<T>{x[i], y[i], z[i]}, dw, last_x, last_y);
        taps.du[i] = motion.du, taps.dv[i] = motion.dv;
      }
    }
#pragma omp simd
    for (int i = 0; i < kLanes; ++i) {
      const std::int32_t upper = taps.at[i], lower = upper + taps.below[i], right_by = taps.right[i];
      const T p00 = image[upper], p01 = image[upper + right_by], p10 = image[lower], p11 = image[lower + right_by];
      value[i] = core::bilinear(p00, p01, p10, p11, taps.ax[i], taps.ay[i]);
      if constexpr (kSlopes) {
        change[i] = core::bilinear_du<T>(p00, p01, p10, p11, taps.ay[i]) * taps.du[i] +
                    core::bilinear_dv<T>(p00, p01, p10, p11, taps.ax[i]) * taps.dv[i];
      }
    }
#pragma omp simd
    for (int i = 0; i < kLanes; ++i) {
      sum[i] += weight[i] * value[i], sum2[i] += weight[i] * value[i] * value[i];
      cross[i] += weighted[i] * value[i];
      if constexpr (kSlopes) grey[first + i] = value[i], slope[first + i] = change[i];
    }
  }
  core::WindowSums<T> sums{0, 0, 0};
  for (int i = 0; i < kLanes; ++i) sums.grey += sum[i], sums.grey2 += sum2[i], sums.cross += cross[i];
  out = core::correlate_sums(sums, window.variance);
  return true;
}

// Adds the gradient of the correlation with a source, times `factor`.
template <class T>
void add_gradient(const NccScene<T>& scene, const NccWindow<T>& window, const core::Correlation<T>& c, T factor,
                  const T* grey, const T* slope, core::Plane<T>& grad) {
  T w = 0, wx = 0, wy = 0;
#pragma omp simd reduction(+ : w, wx, wy)
  for (int i = 0; i < scene.n_samples; ++i) {
    const T change = core::grey_gradient(c, window.weight[i], window.weighted[i], grey[i]) * slope[i];
    w += change, wx += change * scene.dx[i], wy += change * scene.dy[i];
  }
  grad.w += factor * w, grad.wx += factor * wx, grad.wy += factor * wy;
}

template <class T>
void pixel_backward(const NccScene<T>& scene, const PatchNccGrads<T>& grads, std::int64_t n) {
  const auto& a = scene.args;
  NccWindow<T> window;
  core::Plane<T> grad{0, 0, 0};
  T grad_z = 0, in_camera[3] = {0, 0, 0};
  if (load_window(scene, n, window)) {
    for (std::int64_t s = 0; s < a.n_sources; ++s) {
      core::Correlation<T> c;
      T grey[kMostSamples], slope[kMostSamples];
      const T factor = grads.scores[n * a.n_sources + s];
      if (factor != T(0) && correlate<true>(scene, window, s, c, grey, slope))
        add_gradient(scene, window, c, factor, grey, slope, grad);
    }
    core::plane_backward(a.depth[n], window.normal, window.u, window.v, window.K, window.plane, grad, grad_z,
                         in_camera);
    core::turn_back(in_camera, a.views.cam_from_world + 12 * window.view, grads.normal + 3 * n);
  } else {
    std::fill(grads.normal + 3 * n, grads.normal + 3 * n + 3, T(0));
  }
  grads.depth[n] = grad_z;
}
}  // namespace

template <class T>
void patch_ncc_forward(const PatchNccArgs<T>& a, T* scores, int n_threads) {
  const NccScene<T> scene(a);
  parallel_for(a.n_pixels, kPixelsPerChunk, n_threads, [&](std::int64_t begin, std::int64_t end) {
    NccWindow<T> window;
    for (std::int64_t n = begin; n < end; ++n) {
      const bool valid = load_window(scene, n, window);
      for (std::int64_t s = 0; s < a.n_sources; ++s) {
        core::Correlation<T> c;
        const bool seen =
            valid && correlate<false>(scene, window, s, c, static_cast<T*>(nullptr), static_cast<T*>(nullptr));
        scores[n * a.n_sources + s] = seen ? c.ncc : T(-1);
      }
    }
  });
}

template <class T>
void patch_ncc_backward(const PatchNccArgs<T>& a, const PatchNccGrads<T>& grads, int n_threads) {
  const NccScene<T> scene(a);
  parallel_for(a.n_pixels, kPixelsPerChunk, n_threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) pixel_backward(scene, grads, n);
  });
}

template void patch_ncc_forward<float>(const PatchNccArgs<float>&, float*, int);
template void patch_ncc_forward<double>(const PatchNccArgs<double>&, double*, int);
template void patch_ncc_backward<float>(const PatchNccArgs<float>&, const PatchNccGrads<float>&, int);
template void patch_ncc_backward<double>(const PatchNccArgs<double>&, const PatchNccGrads<double>&, int);

}  // namespace uner3d::cpu
