// What the two ways to the gradients of composite share.
#pragma once

#include "composite_rays.cuh"

namespace uner3d::cuda {

// The upstream gradient of a ray.
template <int kChannels>
struct RayGrads {
  float opacity = 0, half_depth = 0, colour[kChannels ? kChannels : 1] = {};

  __device__ __forceinline__ RayGrads(const CompositeGradArgs<float>& a, std::int64_t r) {
    if (r >= a.in.n_rays) return;
    if (a.grad_opacity) opacity = __ldg(a.grad_opacity + r);
    if (a.grad_depth) half_depth = 0.5f * __ldg(a.grad_depth + r);
    if (!a.grad_colour) return;
#pragma unroll
    for (int c = 0; c < kChannels; ++c) colour[c] = __ldg(a.grad_colour + r * kChannels + c);
  }
};

// What one sample asks of its edges: `stretch` by its thickness, `shift` by its depth.
struct Pull {
  float shift, stretch;
};

}  // namespace uner3d::cuda
