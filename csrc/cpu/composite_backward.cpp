// One pass over each ray, from its last sample to its first. The transmittance behind a sample is what leaves the ray
// plus the weights of all samples behind: a sum of positive terms, as exact as the products of the forward pass, which
// it replaces.
#include <vector>

#include "composite_rays.h"
#include "prefetch.h"

namespace uner3d::cpu {
namespace {

// dots[i] = sum_c grad_colour[c] colour[i, c], for any number of channels.
template <class T>
void colour_dots(const T* grad_colour, const Ray<T>& ray, int64_t n_channels, T* dots) {
  for (int64_t i = 0; i < ray.count; ++i) {
    T dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t c = 0; c < n_channels; ++c) dot += grad_colour[c] * ray.colour[i * n_channels + c];
    dots[i] = dot;
  }
}

// out[i, c] = weights[i] grad_colour[c], for any number of channels.
template <class T>
void spread_weights(const T* grad_colour, const T* weights, int64_t count, int64_t n_channels, T* out) {
  for (int64_t i = 0; i < count; ++i) {
#pragma omp simd
    for (int64_t c = 0; c < n_channels; ++c) out[i * n_channels + c] = weights[i] * grad_colour[c];
  }
}

// The gradient of a ray's colour as interleaved samples have it, and what both directions of it are.
template <class T, int kChannels>
struct ColourGrad {
  Vec<T> grad[kChannels + 1];

  explicit ColourGrad(const T* grad_colour) {
    T repeated[(kChannels + 1) * kLanes<T>];
    for (int i = 0; i < kChannels * kLanes<T>; ++i) repeated[i] = grad_colour[i % std::max(kChannels, 1)];
    for (int k = 0; k < kChannels; ++k) grad[k] = load(repeated + k * kLanes<T>);
  }

  template <bool kWhole>
  UNER3D_HD Vec<T> dots(const Ray<T>& ray, int64_t begin, std::bool_constant<kWhole> is_whole) const {
    Vec<T> flat[kChannels + 1], sum{};
    load_colours<T, kChannels>(ray, begin, is_whole, flat);
    for (int k = 0; k < kChannels; ++k) flat[k] *= grad[k];
    for_constants<kChannels>([&](auto c) { sum += channel<T, kChannels, c>(flat); });
    return sum;
  }

  template <bool kWhole>
  UNER3D_HD void spread(Vec<T> weight, int64_t left, std::bool_constant<kWhole>, T* out) const {
    for_constants<kChannels>([&](auto k) {
      store_some<kWhole>(out + k * kLanes<T>, repeat<T, kChannels, k>(weight) * grad[k],
                         left * kChannels - k * kLanes<T>);
    });
  }
};

// What passes all samples of a ray.
template <class T, int kStride>
T leaving(const Ray<T>& ray) {
  Vec<T> thickness{};
  const auto add = [&](int64_t i, auto is_whole) {
    const Span<T, kStride> span(ray, i, is_whole);
    thickness += span.sigma * (span.end - span.start);
  };
  int64_t i = 0;
  for (; i + kLanes<T> <= ray.count; i += kLanes<T>) add(i, std::true_type{});
  if (i < ray.count) add(i, std::false_type{});
  T alpha, through;
  core::attenuate(sum_lanes<T>(thickness), alpha, through);
  return core::flush_opaque(through);
}

// Gradients of the edges: the thickness moves both ends of a sample, the depth moves their middle.
template <class T, int kStride>
struct EdgeGrads {
  T* out;             // of the ray; null where not wanted
  Vec<T> ahead = {};  // of the samples after, whose first shares an edge with the last one here

  template <bool kWhole>
  UNER3D_HD void put(int64_t i, int64_t left, Vec<T> stretch, Vec<T> move, std::bool_constant<kWhole>) {
    const Vec<T> to_start = move - stretch, to_end = move + stretch;
    if constexpr (kStride == 2) {
      store_some<kWhole>(out + 2 * i, interleave<T, 0>(to_start, to_end), 2 * left);
      store_some<kWhole>(out + 2 * i + kLanes<T>, interleave<T, 1>(to_start, to_end), 2 * left - kLanes<T>);
    } else {
      store_some<kWhole>(out + i + 1, to_end + shift<T, -1>(to_start, ahead), left);
      ahead = to_start;
    }
  }

  void finish() {
    if (kStride == 1) out[0] = ahead[0];
  }
};

// `dots`: scratch of as many values as the ray has samples.
template <class T, int kStride, int kChannels>
void backward_ray(const CompositeGradArgs<T>& a, int64_t r, T* dots) {
  const Ray<T> ray = ray_of<T, kStride>(a.in, r);
  const int64_t n_channels = a.in.n_channels;
  const T* weights = a.weights + ray.begin;
  const T none[kChannels + 1] = {};
  const T* grad_colour = a.grad_colour ? a.grad_colour + r * n_channels : none;
  const ColourGrad<T, kChannels> colour(grad_colour);
  const bool has_dots = kChannels == 0 && a.grad_colour;
  if (has_dots) colour_dots(grad_colour, ray, n_channels, dots);
  const T grad_opacity = a.grad_opacity ? a.grad_opacity[r] : T(0);
  const T half_grad_depth = a.grad_depth ? T(0.5) * a.grad_depth[r] : T(0);
  EdgeGrads<T, kStride> edges{a.grad_edges ? a.grad_edges + (ray.edges - a.in.edges) : nullptr};
  Vec<T> passed = broadcast(leaving<T, kStride>(ray)), behind{};  // all samples so far; sum of their grad * weight
  const auto differentiate = [&](int64_t i, auto is_whole) __attribute__((always_inline)) {
    constexpr bool kWhole = decltype(is_whole)::value;
    const int64_t left = ray.count - i;
    const Span<T, kStride> span(ray, i, is_whole);
    const Vec<T> weight = load_some<kWhole>(weights + i, left);
    Vec<T> grad = grad_opacity + half_grad_depth * (span.start + span.end);
    if (a.grad_weights) grad += load_some<kWhole>(a.grad_weights + ray.begin + i, left);
    if (has_dots) grad += load_some<kWhole>(dots + i, left);
    if (a.grad_colour) grad += colour.dots(ray, i, is_whole);
    const Vec<T> light = suffix_sum<T>(weight), loss = suffix_sum<T>(grad * weight);
    const Vec<T> tau_grad = core::grad_tau(grad, Vec<T>(passed + shift<T, -1>(light, Vec<T>{})),
                                           Vec<T>(behind + shift<T, -1>(loss, Vec<T>{})));
    passed += first_lane<T>(light);
    behind += first_lane<T>(loss);
    store_some<kWhole>(a.grad_sigma + ray.begin + i, tau_grad * (span.end - span.start), left);
    if (a.grad_sample_colour) colour.spread(weight, left, is_whole, a.grad_sample_colour + (ray.begin + i) * kChannels);
    if (a.grad_edges) edges.put(i, left, tau_grad * span.sigma, half_grad_depth * weight, is_whole);
  };
  int64_t i = ray.count / kLanes<T> * kLanes<T>;
  if (i < ray.count) differentiate(i, std::false_type{});
  while ((i -= kLanes<T>) >= 0) differentiate(i, std::true_type{});
  if (kChannels == 0 && a.grad_sample_colour && a.grad_colour)
    spread_weights(grad_colour, weights, ray.count, n_channels, a.grad_sample_colour + ray.begin * n_channels);
  if (kChannels == 0 && a.grad_sample_colour && !a.grad_colour)
    std::fill_n(a.grad_sample_colour + ray.begin * n_channels, ray.count * n_channels, T(0));
  if (a.grad_edges) edges.finish();
}

constexpr int64_t kMostFetched = 256;  // samples; a longer ray is a stream of its own

// Fetches what a ray reads and where it writes. Rays are short and taken from their ends, which begins a new stream
// every few lines: no processor foresees that.
template <class T>
inline __attribute__((always_inline)) void fetch_ray(const CompositeGradArgs<T>& a, const Ray<T>& ray, bool is_packed) {
  const int64_t n = std::min(ray.count, kMostFetched), n_edges = is_packed ? 2 * n : n + 1;
  const int64_t n_colours = std::min(n * a.in.n_channels, 4 * kMostFetched);
  prefetch(ray.sigma, n);
  prefetch(ray.edges, n_edges);
  prefetch(ray.colour, n_colours);
  prefetch(a.weights + ray.begin, n);
  prefetch(a.grad_sigma + ray.begin, n);
  if (a.grad_weights) prefetch(a.grad_weights + ray.begin, n);
  if (a.grad_edges) prefetch(a.grad_edges + (ray.edges - a.in.edges), n_edges);
  if (a.grad_sample_colour) prefetch(a.grad_sample_colour + ray.begin * a.in.n_channels, n_colours);
}

template <class T, int kStride, int kChannels>
void backward(const CompositeGradArgs<T>& a, int64_t rays_per_chunk, int n_threads) {
  parallel_for(a.in.n_rays, rays_per_chunk, n_threads, [&](int64_t begin, int64_t end) {
    int64_t longest = 0;
    for (int64_t r = begin; kChannels == 0 && r < end; ++r)
      longest = std::max(longest, ray_of<T, kStride>(a.in, r).count);
    std::vector<T> dots(static_cast<std::size_t>(longest));
    for (int64_t r = begin; r < end; ++r) {
      if (r + 1 < end) fetch_ray(a, ray_of<T, kStride>(a.in, r + 1), kStride == 2);
      backward_ray<T, kStride, kChannels>(a, r, dots.data());
    }
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
