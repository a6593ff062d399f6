#include "../ops/composite.h"

#include <type_traits>

#include "../core/composite.h"
#include "parallel.h"
#include "scan.h"

namespace uner3d::cpu {
namespace {

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
      const Vec<T> before = transmittance * shift<T, 1>(passed, broadcast(T(1)));
      const Vec<T> weight = before * load(block.alpha + i);
      transmittance *= passed[kLanes<T> - 1];
      opacity += weight;
      twice_depth += weight * load(block.ends + i);
      store_some(weights + begin + i, weight, count - i);
    }
  }
  a.opacity[r] = sum_lanes<T>(opacity);
  a.depth[r] = T(0.5) * sum_lanes<T>(twice_depth);
  sum_colour<T, kChannels>(weights, ray.colour, ray.count, a.in.n_channels, a.colour + r * a.in.n_channels);
}

// Rows of scratch, each as long as the ray, rounded up to whole vectors.
template <class T>
struct Scratch {
  T *weights, *after, *grad;
};

// grad[i] = d loss / d weight_i from the four outputs; also the gradient of the samples' colours.
template <class T, int kStride, int kChannels>
void weight_grads(const CompositeGradArgs<T>& a, int64_t r, const Ray<T>& ray, const Scratch<T>& s) {
  const int64_t n_channels = kChannels == 0 ? a.in.n_channels : kChannels;
  const T grad_opacity = a.grad_opacity ? a.grad_opacity[r] : T(0);
  const T half_grad_depth = a.grad_depth ? T(0.5) * a.grad_depth[r] : T(0);
#pragma omp simd
  for (int64_t i = 0; i < ray.count; ++i)
    s.grad[i] = grad_opacity + half_grad_depth * (ray.edges[i * kStride] + ray.edges[i * kStride + 1]);
  if (a.grad_weights) {
#pragma omp simd
    for (int64_t i = 0; i < ray.count; ++i) s.grad[i] += a.grad_weights[ray.begin + i];
  }
  if (!a.grad_colour) return;
  const T* grad_colour = a.grad_colour + r * n_channels;
  if constexpr (kChannels == 0) {
    for (int64_t i = 0; i < ray.count; ++i) {
      T dot = 0;
#pragma omp simd reduction(+ : dot)
      for (int64_t c = 0; c < n_channels; ++c) dot += grad_colour[c] * ray.colour[i * n_channels + c];
      s.grad[i] += dot;
    }
  } else {
    T g[kChannels];
    for (int c = 0; c < kChannels; ++c) g[c] = grad_colour[c];
#pragma omp simd
    for (int64_t i = 0; i < ray.count; ++i) {
      T dot = 0;
      for (int c = 0; c < kChannels; ++c) dot += g[c] * ray.colour[i * kChannels + c];
      s.grad[i] += dot;
    }
  }
}

template <class T, int kChannels>
void colour_grads(const CompositeGradArgs<T>& a, int64_t r, const Ray<T>& ray, const T* weights) {
  const int64_t n_channels = kChannels == 0 ? a.in.n_channels : kChannels;
  T* out = a.grad_sample_colour + ray.begin * n_channels;
  if (!a.grad_colour) {
    std::fill(out, out + ray.count * n_channels, T(0));
    return;
  }
  const T* grad_colour = a.grad_colour + r * n_channels;
  if constexpr (kChannels == 0) {
    for (int64_t i = 0; i < ray.count; ++i) {
#pragma omp simd
      for (int64_t c = 0; c < n_channels; ++c) out[i * n_channels + c] = weights[i] * grad_colour[c];
    }
  } else {
    T g[kChannels];
    for (int c = 0; c < kChannels; ++c) g[c] = grad_colour[c];
#pragma omp simd
    for (int64_t i = 0; i < ray.count; ++i)
      for (int c = 0; c < kChannels; ++c) out[i * kChannels + c] = weights[i] * g[c];
  }
}

// From the gradients of tau to those of the edges: the thickness moves both ends, the depth moves their middle.
template <class T, int kStride>
void edge_grads(const CompositeGradArgs<T>& a, int64_t r, const Ray<T>& ray, const Scratch<T>& s) {
  const T half_grad_depth = a.grad_depth ? T(0.5) * a.grad_depth[r] : T(0);
  T* out = a.grad_edges + (ray.edges - a.in.edges);
  if constexpr (kStride == 2) {
#pragma omp simd
    for (int64_t i = 0; i < ray.count; ++i) {
      const T stretch = s.grad[i] * ray.sigma[i], shift = half_grad_depth * s.weights[i];
      out[2 * i] = shift - stretch;
      out[2 * i + 1] = shift + stretch;
    }
  } else {
    T left = 0;  // what the sample before gave its far edge
    for (int64_t i = 0; i < ray.count; ++i) {
      const T stretch = s.grad[i] * ray.sigma[i], shift = half_grad_depth * s.weights[i];
      out[i] = left + (shift - stretch);
      left = shift + stretch;
    }
    out[ray.count] = left;
  }
}

// weights[i] = T_i alpha_i and after[i] = T_{i+1}, padded to whole vectors with zeros and what has passed.
template <class T, int kStride>
void transmit(const Ray<T>& ray, const Scratch<T>& s) {
  T transmittance = 1;
  for (int64_t begin = 0; begin < ray.count; begin += kBlock) {
    const int64_t count = std::min(kBlock, ray.count - begin);
    const Block<T, kStride> block(ray, begin, count);
    for (int64_t i = 0; i < count; i += kLanes<T>) {
      const Vec<T> passed = prefix_product<T>(load(block.through + i));
      const Vec<T> before = transmittance * shift<T, 1>(passed, broadcast(T(1)));
      store<T>(s.weights + begin + i, before * load(block.alpha + i));
      store<T>(s.after + begin + i, transmittance * passed);
      transmittance *= passed[kLanes<T> - 1];
    }
  }
}

// Turns grad from d loss / d weight into d loss / d tau, from the last sample to the first.
template <class T>
void weight_to_tau_grads(int64_t count, const Scratch<T>& s) {
  T behind = 0;
  for (int64_t i = round_up_to_lanes<T>(count) - kLanes<T>; i >= 0; i -= kLanes<T>) {
    const Vec<T> grad = load(s.grad + i);
    const Vec<T> sums = suffix_sum<T>(grad * load(s.weights + i));
    const Vec<T> later = behind + shift<T, -1>(sums, Vec<T>{});
    store<T>(s.grad + i, core::grad_tau(grad, load(s.after + i), later));
    behind += sums[0];
  }
}

template <class T, int kStride, int kChannels>
void backward_ray(const CompositeGradArgs<T>& a, int64_t r, T* scratch) {
  const Ray<T> ray = ray_of<T, kStride>(a.in, r);
  const int64_t padded = round_up_to_lanes<T>(ray.count);
  const Scratch<T> s{scratch, scratch + padded, scratch + 2 * padded};
  transmit<T, kStride>(ray, s);
  weight_grads<T, kStride, kChannels>(a, r, ray, s);
  for (int64_t i = ray.count; i < padded; ++i) s.grad[i] = 0;
  weight_to_tau_grads(ray.count, s);
  T* grad_sigma = a.grad_sigma + ray.begin;
#pragma omp simd
  for (int64_t i = 0; i < ray.count; ++i)
    grad_sigma[i] = s.grad[i] * (ray.edges[i * kStride + 1] - ray.edges[i * kStride]);
  if (a.grad_sample_colour) colour_grads<T, kChannels>(a, r, ray, s.weights);
  if (a.grad_edges) edge_grads<T, kStride>(a, r, ray, s);
}

template <class T, int kStride, int kChannels>
void forward(const CompositeArgs<T>& a, int64_t rays_per_chunk, int n_threads) {
  parallel_for(a.in.n_rays, rays_per_chunk, n_threads, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) forward_ray<T, kStride, kChannels>(a, r);
  });
}

template <class T, int kStride, int kChannels>
void backward(const CompositeGradArgs<T>& a, int64_t rays_per_chunk, int n_threads) {
  parallel_for(a.in.n_rays, rays_per_chunk, n_threads, [&](int64_t begin, int64_t end) {
    int64_t longest = 0;
    for (int64_t r = begin; r < end; ++r) longest = std::max(longest, ray_of<T, kStride>(a.in, r).count);
    std::vector<T> scratch(static_cast<std::size_t>(3 * round_up_to_lanes<T>(longest)));
    for (int64_t r = begin; r < end; ++r) backward_ray<T, kStride, kChannels>(a, r, scratch.data());
  });
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
      case 1: return f(stride, std::integral_constant<int, 1>{});
      case 3: return f(stride, std::integral_constant<int, 3>{});
      case 4: return f(stride, std::integral_constant<int, 4>{});
      default: return f(stride, std::integral_constant<int, 0>{});
    }
  };
  if (in.ray_offsets)
    with_channels(std::integral_constant<int, 2>{});
  else
    with_channels(std::integral_constant<int, 1>{});
}

}  // namespace

template <class T>
void composite_forward(const CompositeArgs<T>& a, int n_threads) {
  if (a.in.n_rays == 0) return;
  specialise(a.in, [&](auto stride, auto channels) {
    forward<T, decltype(stride)::value, decltype(channels)::value>(a, rays_per_chunk(a.in), n_threads);
  });
}

template <class T>
void composite_backward(const CompositeGradArgs<T>& a, int n_threads) {
  if (a.in.n_rays == 0) return;
  specialise(a.in, [&](auto stride, auto channels) {
    backward<T, decltype(stride)::value, decltype(channels)::value>(a, rays_per_chunk(a.in), n_threads);
  });
}

template void composite_forward<float>(const CompositeArgs<float>&, int);
template void composite_forward<double>(const CompositeArgs<double>&, int);
template void composite_backward<float>(const CompositeGradArgs<float>&, int);
template void composite_backward<double>(const CompositeGradArgs<double>&, int);

}  // namespace uner3d::cpu
