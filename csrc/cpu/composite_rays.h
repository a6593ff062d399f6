// What the two directions of composite share: rays, vectors of samples, and the choice of specialised loops.
#pragma once

#include <algorithm>
#include <type_traits>

#include "../core/composite.h"
#include "../ops/composite.h"
#include "attenuate.h"
#include "parallel.h"
#include "scan.h"

namespace uner3d::cpu {

using std::int64_t;
constexpr int64_t kSamplesPerChunk = 8192;

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

// As many samples as a vector has lanes, from sample `begin` of a ray on; those beyond its end are zero throughout.
// The caller says whether there are any such, since a loop over whole vectors keeps all its sums in registers.
template <class T, int kStride>
struct Span {
  Vec<T> sigma, start, end;

  template <bool kWhole>
  UNER3D_HD Span(const Ray<T>& ray, int64_t begin, std::bool_constant<kWhole>) {
    const int64_t left = ray.count - begin;
    const T* edges = ray.edges + begin * kStride;
    sigma = load_some<kWhole>(ray.sigma + begin, left);
    if constexpr (kStride == 1) {
      start = load_some<kWhole>(edges, left);
      end = load_some<kWhole>(edges + 1, left);
    } else {
      const Vec<T> flat[2] = {load_some<kWhole>(edges, 2 * left),
                              load_some<kWhole>(edges + kLanes<T>, 2 * left - kLanes<T>)};
      start = channel<T, 2, 0>(flat);
      end = channel<T, 2, 1>(flat);
    }
  }
};

// The colours of as many samples as a vector has lanes, from sample `begin` of a ray on, zero beyond its end.
template <class T, int kChannels, bool kWhole>
UNER3D_HD void load_colours(const Ray<T>& ray, int64_t begin, std::bool_constant<kWhole>, Vec<T>* flat) {
  const int64_t left = (ray.count - begin) * kChannels;
  for (int k = 0; k < kChannels; ++k)
    flat[k] = load_some<kWhole>(ray.colour + begin * kChannels + k * kLanes<T>, left - k * kLanes<T>);
}

// Calls f(k) with k = 0 .. n - 1 as compile-time constants.
template <int n, int k = 0, class F>
UNER3D_HD void for_constants(const F& f) {
  if constexpr (k < n) {
    f(std::integral_constant<int, k>{});
    for_constants<n, k + 1>(f);
  }
}

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
