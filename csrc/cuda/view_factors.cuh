// The factors of a view's weight at a point, with what their derivatives need.
#pragma once

#include "../core/view_weights.h"
#include "../ops/view_weights.h"
#include "view_taps.cuh"

namespace uner3d::cuda {

struct Factors {
  core::AngleFactor<float> angle;            // only with directions
  Corners<float> mask_pixels, depth_pixels;  // only with masks, with depths
  core::VisibilityFactor<float> visibility;
  float angle_value, mask;  // 1 where absent
};

__device__ __forceinline__ Corners<float> load_pixels(const float* maps, const Footprint& at) {
  const float* top = maps + at.offset;
  const float* bottom = top + at.step_row;
  return {__ldg(top), __ldg(top + at.step_column), __ldg(bottom), __ldg(bottom + at.step_column)};
}

// To be called where the view sees the point; `at` is its footprint in maps of one channel.
template <class Args>
__device__ __forceinline__ Factors weigh(const Args& a, const Camera& camera, std::int64_t point, const Tap& tap,
                                         const Footprint& at) {
  Factors f{};
  f.angle_value = f.mask = f.visibility.value = 1.0f;
  if (a.directions) {
    const float x[3] = {__ldg(a.points + 3 * point), __ldg(a.points + 3 * point + 1), __ldg(a.points + 3 * point + 2)};
    const float d[3] = {__ldg(a.directions + 3 * point), __ldg(a.directions + 3 * point + 1),
                        __ldg(a.directions + 3 * point + 2)};
    f.angle = core::angle_factor(camera.centre, x, d, a.angle_power);
    f.angle_value = f.angle.value;
  }
  if (a.masks) {
    f.mask_pixels = load_pixels(a.masks, at);
    const auto& c = f.mask_pixels;
    f.mask = core::bilinear(c.p00, c.p01, c.p10, c.p11, at.ax, at.ay);
  }
  if (a.depths) {
    f.depth_pixels = load_pixels(a.depths, at);
    auto& c = f.depth_pixels;
    f.visibility = core::visibility_factor(tap.z, c.p00, c.p01, c.p10, c.p11, at.ax, at.ay, 1.0f / a.depth_tolerance);
  }
  return f;
}

// Derivatives of the loss to the sampled mask and depth, from that to the weight.
__device__ __forceinline__ float grad_mask(const Factors& f, float grad) {
  return grad * f.angle_value * f.visibility.value;
}
__device__ __forceinline__ float grad_depth(const Factors& f, float grad) {
  return grad * f.angle_value * f.mask * f.visibility.depth_slope;
}

}  // namespace uner3d::cuda
