#include "../ops/composite.h"

#include <type_traits>

#include "../core/composite.h"
#include "parallel.h"

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

// weights[i] = T_i alpha_i and, where `after` is not null, after[i] = T_{i+1}; returns the last transmittance. Groups of
// four shorten the chain of dependent products.
template <class T, int kStride>
T transmit(const Ray<T>& ray, int64_t begin, int64_t count, T transmittance, T* weights, T* after) {
  T alpha[kBlock], through[kBlock];
  const T* sigma = ray.sigma + begin;
  const T* edges = ray.edges + begin * kStride;
#pragma omp simd
  for (int64_t i = 0; i < count; ++i)
    core::attenuate(sigma[i] * (edges[i * kStride + 1] - edges[i * kStride]), alpha[i], through[i]);
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    const T p1 = through[i], p2 = p1 * through[i + 1], p3 = p2 * through[i + 2];
    const T p4 = p2 * (through[i + 2] * through[i + 3]);
    weights[i] = transmittance * alpha[i];
    weights[i + 1] = transmittance * (p1 * alpha[i + 1]);
    weights[i + 2] = transmittance * (p2 * alpha[i + 2]);
    weights[i + 3] = transmittance * (p3 * alpha[i + 3]);
    if (after != nullptr) {
      after[i] = transmittance * p1;
      after[i + 1] = transmittance * p2;
      after[i + 2] = transmittance * p3;
      after[i + 3] = transmittance * p4;
    }
    transmittance *= p4;
  }
  for (; i < count; ++i) {
    weights[i] = transmittance * alpha[i];
    transmittance *= through[i];
    if (after != nullptr) after[i] = transmittance;
  }
  return transmittance;
}

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
    T s0 = 0, s1 = 0, s2 = 0, s3 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
    for (int64_t i = 0; i < count; ++i) {
      const T* row = colour + i * kChannels;
      s0 += weights[i] * row[0];
      if (kChannels > 1) s1 += weights[i] * row[1];
      if (kChannels > 2) s2 += weights[i] * row[2];
      if (kChannels > 3) s3 += weights[i] * row[3];
    }
    const T sums[4] = {s0, s1, s2, s3};
    for (int c = 0; c < kChannels; ++c) out[c] = sums[c];
  }
}

template <class T, int kStride, int kChannels>
void forward_ray(const CompositeArgs<T>& a, int64_t r) {
  const Ray<T> ray = ray_of<T, kStride>(a.in, r);
  T* weights = a.weights + ray.begin;
  T transmittance = 1;
  for (int64_t b = 0; b < ray.count; b += kBlock)
    transmittance = transmit<T, kStride>(ray, b, std::min(kBlock, ray.count - b), transmittance, weights + b, nullptr);
  T opacity = 0, twice_depth = 0;
#pragma omp simd reduction(+ : opacity, twice_depth)
  for (int64_t i = 0; i < ray.count; ++i) {
    opacity += weights[i];
    twice_depth += weights[i] * (ray.edges[i * kStride] + ray.edges[i * kStride + 1]);
  }
  a.opacity[r] = opacity;
  a.depth[r] = T(0.5) * twice_depth;
  sum_colour<T, kChannels>(weights, ray.colour, ray.count, a.in.n_channels, a.colour + r * a.in.n_channels);
}

// Rows of scratch, each as long as the ray.
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

template <class T, int kStride, int kChannels>
void backward_ray(const CompositeGradArgs<T>& a, int64_t r, T* scratch) {
  const Ray<T> ray = ray_of<T, kStride>(a.in, r);
  const Scratch<T> s{scratch, scratch + ray.count, scratch + 2 * ray.count};
  T transmittance = 1;
  for (int64_t b = 0; b < ray.count; b += kBlock)
    transmittance = transmit<T, kStride>(ray, b, std::min(kBlock, ray.count - b), transmittance, s.weights + b,
                                         s.after + b);
  weight_grads<T, kStride, kChannels>(a, r, ray, s);
  T behind = 0;
  for (int64_t i = ray.count - 1; i >= 0; --i) {
    const T grad_weight = s.grad[i];
    s.grad[i] = core::grad_tau(grad_weight, s.after[i], behind);
    behind += grad_weight * s.weights[i];
  }
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
    std::vector<T> scratch(static_cast<std::size_t>(3 * longest));
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
