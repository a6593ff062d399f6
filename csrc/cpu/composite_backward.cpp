#include "composite_rays.h"

namespace uner3d::cpu {
namespace {

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
    const int64_t last = ray.count - 1;
    if (last < 0) {
      out[0] = 0;
      return;
    }
    out[0] = half_grad_depth * s.weights[0] - s.grad[0] * ray.sigma[0];
#pragma omp simd
    for (int64_t i = 1; i <= last; ++i)  // an inner edge ends one sample and starts the next
      out[i] = half_grad_depth * (s.weights[i - 1] + s.weights[i]) +
               (s.grad[i - 1] * ray.sigma[i - 1] - s.grad[i] * ray.sigma[i]);
    out[last + 1] = half_grad_depth * s.weights[last] + s.grad[last] * ray.sigma[last];
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
      const Vec<T> before = flush_below<T>(transmittance * shift<T, 1>(passed, broadcast(T(1))), T(core::kOpaque));
      store<T>(s.weights + begin + i, before * load(block.alpha + i));
      store<T>(s.after + begin + i, flush_below<T>(transmittance * passed, T(core::kOpaque)));
      transmittance = core::flush_opaque(transmittance * passed[kLanes<T> - 1]);
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
void backward(const CompositeGradArgs<T>& a, int64_t rays_per_chunk, int n_threads) {
  parallel_for(a.in.n_rays, rays_per_chunk, n_threads, [&](int64_t begin, int64_t end) {
    int64_t longest = 0;
    for (int64_t r = begin; r < end; ++r) longest = std::max(longest, ray_of<T, kStride>(a.in, r).count);
    std::vector<T> scratch(static_cast<std::size_t>(3 * round_up_to_lanes<T>(longest)));
    for (int64_t r = begin; r < end; ++r) backward_ray<T, kStride, kChannels>(a, r, scratch.data());
  });
}

}  // namespace

template <class T>
void composite_backward(const CompositeGradArgs<T>& a, int n_threads) {
  if (a.in.n_rays == 0) return;
  specialise(a.in, [&](auto stride, auto channels) {
    backward<T, decltype(stride)::value, decltype(channels)::value>(a, rays_per_chunk(a.in), n_threads);
  });
}

template void composite_backward<float>(const CompositeGradArgs<float>&, int);
template void composite_backward<double>(const CompositeGradArgs<double>&, int);

}  // namespace uner3d::cpu
