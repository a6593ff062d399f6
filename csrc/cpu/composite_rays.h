// What the two directions of composite share: rays, blocks of samples, and the choice of specialised loops.
#pragma once

#include <algorithm>
#include <type_traits>

#include "../core/composite.h"
#include "../ops/composite.h"
#include "parallel.h"
#include "scan.h"

namespace uner3d::cpu {

using std::int64_t;
constexpr int64_t kSamplesPerChunk = 8192;
constexpr int64_t kBlock = 256;  // samples whose exponentials are computed together

// The samples of one ray. Sample i spans edges[i * stride] to edges[i * stride + 1].
template <class T>
struct Ray {
  int64_t begin, count;
  const T *sigma, *colour, *edges;
};

template <class T, int kStride>
Ray<T> ray_of(const CompositeSamples<T>& in, int64_t r) {
  const int64_t begin = kStride == 2 ? in.ray_offsets[r] : r * in.n_samples;
  const int64_t count = kStride == 2 ? in.ray_offsets[r + 1] - begin : in.n_samples;
  const T* edges = in.edges + (kStride == 2 ? 2 * begin : r * (in.n_samples + 1));
  return {begin, count, in.sigma + begin, in.colour + begin * in.n_channels, edges};
}

// What a block of samples absorbs and lets through, padded to whole vectors with samples that do nothing.
template <class T, int kStride>
struct Block {
  T alpha[kBlock], through[kBlock], ends[kBlock];  // ends: t0 + t1

  Block(const Ray<T>& ray, int64_t begin, int64_t count) {
    const T* sigma = ray.sigma + begin;
    const T* edges = ray.edges + begin * kStride;
#pragma omp simd
    for (int64_t i = 0; i < count; ++i) {
      core::attenuate(sigma[i] * (edges[i * kStride + 1] - edges[i * kStride]), alpha[i], through[i]);
      ends[i] = edges[i * kStride + 1] + edges[i * kStride];
    }
    for (int64_t i = count; i < round_up_to_lanes<T>(count); ++i) alpha[i] = 0, through[i] = 1, ends[i] = 0;
  }
};

template <class T>
int64_t rays_per_chunk(const CompositeSamples<T>& in) {
  const int64_t total = in.ray_offsets ? in.ray_offsets[in.n_rays] : in.n_rays * in.n_samples;
  return std::max<int64_t>(1, kSamplesPerChunk * in.n_rays / std::max<int64_t>(1, total));
}

// Calls f with the edge stride and the number of channels (0: any) as compile-time constants.
template <class T, class F>
void specialise(const CompositeSamples<T>& in, const F& f) {
  const auto with_channels = [&](auto stride) {
    switch (in.n_channels) {
      case 1:
        return f(stride, std::integral_constant<int, 1>{});
      case 3:
        return f(stride, std::integral_constant<int, 3>{});
      case 4:
        return f(stride, std::integral_constant<int, 4>{});
      default:
        return f(stride, std::integral_constant<int, 0>{});
    }
  };
  if (in.ray_offsets)
    with_channels(std::integral_constant<int, 2>{});
  else
    with_channels(std::integral_constant<int, 1>{});
}

}  // namespace uner3d::cpu
