#include "composite_rays.h"

namespace uner3d::cpu {
namespace {

// out[c] = sum_i weights[i] colour[i, c]; kChannels 0 stands for any number.
template <class T, int kChannels>
void sum_colour(const T* weights, const T* colour, int64_t count, int64_t n_channels, T* out) {
  if constexpr (kChannels == 0) {
    for (int64_t c = 0; c < n_channels; ++c) out[c] = 0;
    for (int64_t i = 0; i < count; ++i) {
#pragma omp simd
      for (int64_t c = 0; c < n_channels; ++c) out[c] += weights[i] * colour[i * n_channels + c];
    }
  } else {
    constexpr int n = kLanes<T>;
    Vec<T> sums[kChannels] = {}, flat[kChannels];
    int64_t i = 0;
    for (; i + n <= count; i += n) {
      const Vec<T> weight = load(weights + i);
      for (int k = 0; k < kChannels; ++k) flat[k] = load(colour + i * kChannels + k * n);
      sums[0] += weight * channel<T, kChannels, 0>(flat);
      if constexpr (kChannels > 1) sums[1] += weight * channel<T, kChannels, 1>(flat);
      if constexpr (kChannels > 2) sums[2] += weight * channel<T, kChannels, 2>(flat);
      if constexpr (kChannels > 3) sums[3] += weight * channel<T, kChannels, 3>(flat);
    }
    for (int c = 0; c < kChannels; ++c) out[c] = sum_lanes<T>(sums[c]);
    for (; i < count; ++i)
      for (int c = 0; c < kChannels; ++c) out[c] += weights[i] * colour[i * kChannels + c];
  }
}

template <class T, int kStride, int kChannels>
void forward_ray(const CompositeArgs<T>& a, int64_t r) {
  const Ray<T> ray = ray_of<T, kStride>(a.in, r);
  T* weights = a.weights + ray.begin;
  T transmittance = 1;
  Vec<T> opacity{}, twice_depth{};
  for (int64_t begin = 0; begin < ray.count; begin += kBlock) {
    const int64_t count = std::min(kBlock, ray.count - begin);
    const Block<T, kStride> block(ray, begin, count);
    for (int64_t i = 0; i < count; i += kLanes<T>) {
      const Vec<T> passed = prefix_product<T>(load(block.through + i));
      const Vec<T> before = flush_below<T>(transmittance * shift<T, 1>(passed, broadcast(T(1))), T(core::kOpaque));
      const Vec<T> weight = before * load(block.alpha + i);
      transmittance = core::flush_opaque(transmittance * passed[kLanes<T> - 1]);
      opacity += weight;
      twice_depth += weight * load(block.ends + i);
      store_some(weights + begin + i, weight, count - i);
    }
  }
  a.opacity[r] = sum_lanes<T>(opacity);
  a.depth[r] = T(0.5) * sum_lanes<T>(twice_depth);
  sum_colour<T, kChannels>(weights, ray.colour, ray.count, a.in.n_channels, a.colour + r * a.in.n_channels);
}

template <class T, int kStride, int kChannels>
void forward(const CompositeArgs<T>& a, int64_t rays_per_chunk, int n_threads) {
  parallel_for(a.in.n_rays, rays_per_chunk, n_threads, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) forward_ray<T, kStride, kChannels>(a, r);
  });
}

}  // namespace

template <class T>
void composite_forward(const CompositeArgs<T>& a, int n_threads) {
  if (a.in.n_rays == 0) return;
  specialise(a.in, [&](auto stride, auto channels) {
    forward<T, decltype(stride)::value, decltype(channels)::value>(a, rays_per_chunk(a.in), n_threads);
  });
}

template void composite_forward<float>(const CompositeArgs<float>&, int);
template void composite_forward<double>(const CompositeArgs<double>&, int);

}  // namespace uner3d::cpu
