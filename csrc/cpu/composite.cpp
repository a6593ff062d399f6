#include "composite_rays.h"

namespace uner3d::cpu {
namespace {

constexpr int64_t kBlock = 256;  // samples whose exponentials are computed together

// out[c] = sum_i weights[i] colour[i, c], for any number of channels.
template <class T>
void sum_colour(const T* weights, const Ray<T>& ray, int64_t n_channels, T* out) {
  std::fill(out, out + n_channels, T(0));
  for (int64_t i = 0; i < ray.count; ++i) {
#pragma omp simd
    for (int64_t c = 0; c < n_channels; ++c) out[c] += weights[i] * ray.colour[i * n_channels + c];
  }
}

// What each sample of a block absorbs and lets through. A loop of its own: the exponentials have a long latency, and
// the processor overlaps more of them the fewer other instructions stand between.
template <class T, int kStride>
struct Block {
  T alpha[kBlock], through[kBlock];

  UNER3D_HD Block(const Ray<T>& ray, int64_t begin, int64_t end) {
    int64_t i = begin;
#pragma GCC unroll 2
    for (; i + kLanes<T> <= end; i += kLanes<T>) fill(ray, i, begin, std::true_type{});
    if (i < end) fill(ray, i, begin, std::false_type{});
  }

 private:
  template <class IsWhole>
  UNER3D_HD void fill(const Ray<T>& ray, int64_t i, int64_t begin, IsWhole is_whole) {
    const Span<T, kStride> span(ray, i, is_whole);
    Vec<T> a, t;
    attenuate(span.sigma * (span.end - span.start), a, t);
    store(alpha + (i - begin), a), store(through + (i - begin), t);
  }
};

// Colours stay interleaved, each weight repeated for the channels of its sample; channels part after the last sample.
template <class T, int kStride, int kChannels>
void forward_ray(const CompositeArgs<T>& a, int64_t r) {
  const Ray<T> ray = ray_of<T, kStride>(a.in, r);
  T* weights = a.weights + ray.begin;
  Vec<T> transmittance = broadcast(T(1)), opacity{}, twice_depth{};
  Vec<T> sums[kChannels + 1] = {}, flat[kChannels + 1];
  const auto add = [&](int64_t i, const T* alpha, const T* through, auto is_whole) __attribute__((always_inline)) {
    constexpr bool kWhole = decltype(is_whole)::value;
    const Span<T, kStride> span(ray, i, is_whole);
    const Vec<T> passed = prefix_product<T>(load(through));
    const Vec<T> before = flush_below<T>(transmittance * shift<T, 1>(passed, broadcast(T(1))), T(core::kOpaque));
    const Vec<T> weight = before * load(alpha);
    transmittance = flush_below<T>(transmittance * last_lane<T>(passed), T(core::kOpaque));
    opacity += weight;
    twice_depth += weight * (span.start + span.end);
    store_some<kWhole>(weights + i, weight, ray.count - i);
    load_colours<T, kChannels>(ray, i, is_whole, flat);
    for_constants<kChannels>([&](auto k) { sums[k] += repeat<T, kChannels, k>(weight) * flat[k]; });
  };
  for (int64_t begin = 0; begin < ray.count; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, ray.count);
    const Block<T, kStride> block(ray, begin, end);
    int64_t i = begin;
#pragma GCC unroll 2
    for (; i + kLanes<T> <= end; i += kLanes<T>)
      add(i, block.alpha + (i - begin), block.through + (i - begin), std::true_type{});
    if (i < end) add(i, block.alpha + (i - begin), block.through + (i - begin), std::false_type{});
  }
  constexpr int kSums = (kChannels + 2 + 3) / 4 * 4;  // four at a time, unused ones zero
  Vec<T> all[kSums] = {opacity, twice_depth};
  T totals[kSums];
  for_constants<kChannels>([&](auto c) { all[2 + c] = channel<T, kChannels, c>(sums); });
  for (int i = 0; i < kSums; i += 4) sum_lanes<T>(all + i, totals + i);
  a.opacity[r] = totals[0];
  a.depth[r] = T(0.5) * totals[1];
  T* colour = a.colour + r * a.in.n_channels;
  std::copy(totals + 2, totals + 2 + kChannels, colour);
  if (kChannels == 0) sum_colour(weights, ray, a.in.n_channels, colour);
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
