// What the two directions of composite share: rays, the light of a block of samples, and the choice of kernels. A group
// of lanes takes a ray, a sample a lane, block after block.
#pragma once

#include <algorithm>
#include <stdexcept>
#include <type_traits>

#include "../core/composite.h"
#include "../ops/composite.h"
#include "enqueue.cuh"
#include "groups.cuh"

namespace uner3d::cuda {

constexpr std::int64_t kMostRayBlocks = 1 << 16;

// The samples of one ray; none for rays beyond the last.
struct Ray {
  std::int64_t begin, count;
  const float* edges;
};

template <bool kPacked>
__device__ __forceinline__ Ray ray_at(const CompositeSamples<float>& in, std::int64_t r) {
  if (r >= in.n_rays) return {0, 0, in.edges};
  if constexpr (kPacked) {
    const std::int64_t begin = min(max(in.ray_offsets[r], std::int64_t(0)), in.n_samples);
    const std::int64_t end = min(in.ray_offsets[r + 1], in.n_samples);
    return {begin, end > begin ? end - begin : 0, in.edges + 2 * begin};
  } else {
    return {r * in.n_samples, in.n_samples, in.edges + r * (in.n_samples + 1)};
  }
}

struct Span {
  float t0, t1;
};

template <bool kPacked>
__device__ __forceinline__ Span span_at(const Ray& ray, std::int64_t i) {
  const float* at = ray.edges + (kPacked ? 2 * i : i);
  return {__ldg(at), __ldg(at + 1)};
}

// What a block of samples does to light that arrives with `transmittance`, sample by sample.
struct Passage {
  float weight, after;  // of this lane's sample; after: what passes it
  float leaves;         // what passes the block
};

// Without a sample alpha is 0 and through 1.
__device__ __forceinline__ Passage pass(const Group& group, float transmittance, float alpha, float through) {
  const float passed = group.prefix_product(through);
  const float before = core::flush_opaque(transmittance * group.previous(passed, 1.0f));
  return {before * alpha, core::flush_opaque(transmittance * passed),
          core::flush_opaque(transmittance * group.from(passed, group.width - 1))};
}

// Lanes a ray: as many as it has samples on average, so that short rays leave few idle.
inline int ray_log_width(const CompositeSamples<float>& in) {
  const std::int64_t n = in.ray_offsets ? in.n_samples / std::max<std::int64_t>(1, in.n_rays) : in.n_samples;
  return std::max(3, log_group(n));
}

// Calls f with whether rays are packed and the number of channels (0: any) as compile-time constants.
template <class F>
void specialise_rays(const CompositeSamples<float>& in, const F& f) {
  const auto with_channels = [&](auto packed) {
    switch (in.n_channels) {
      case 1:
        return f(packed, std::integral_constant<int, 1>{});
      case 3:
        return f(packed, std::integral_constant<int, 3>{});
      case 4:
        return f(packed, std::integral_constant<int, 4>{});
      default:
        return f(packed, std::integral_constant<int, 0>{});
    }
  };
  if (in.n_channels > (1 << 24)) throw std::invalid_argument("more than 2^24 channels");
  if (in.ray_offsets)
    with_channels(std::true_type{});
  else
    with_channels(std::false_type{});
}

}  // namespace uner3d::cuda
