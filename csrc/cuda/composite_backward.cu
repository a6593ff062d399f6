// Two sweeps over a ray: front to back for what arrives at each block of samples, then back to front for the gradients.
// Short dense rays go another way, composite_backward_quads.cuh.
#include "composite_backward_quads.cuh"
#include "composite_grads.cuh"

namespace uner3d::cuda {
namespace {

using Args = CompositeGradArgs<float>;

// d loss / d weight of one sample from the four outputs.
template <int kChannels>
__device__ __forceinline__ float weight_grad(const Args& a, const RayGrads<kChannels>& from, std::int64_t r,
                                             std::int64_t sample, const Span& span) {
  float grad = from.opacity + from.half_depth * (span.t0 + span.t1);
  if (a.grad_weights) grad += __ldg(a.grad_weights + sample);
  if (!a.grad_colour) return grad;
  float dot = 0;
  if constexpr (kChannels == 0) {
    const float* colour = a.in.colour + sample * a.in.n_channels;
    const float* grad_colour = a.grad_colour + r * a.in.n_channels;
    const int n_channels = static_cast<int>(a.in.n_channels);  // composite_rays.cuh bounds it; 64 bits would spill
    for (int c = 0; c < n_channels; ++c) dot += __ldg(grad_colour + c) * __ldg(colour + c);
  } else {
#pragma unroll
    for (int c = 0; c < kChannels; ++c) dot += from.colour[c] * __ldg(a.in.colour + sample * kChannels + c);
  }
  return grad + dot;
}

// Gradients of the colours of a block of `count` samples, the first of which is `first`: written as one contiguous run.
template <int kChannels>
__device__ __forceinline__ void colour_grads(const Args& a, const Group& group, float weight, std::int64_t r,
                                             std::int64_t first, std::int64_t count) {
  const int n_channels = kChannels ? kChannels : static_cast<int>(a.in.n_channels);
  float* out = a.grad_sample_colour + first * n_channels;
  for (int base = 0; base < group.width * n_channels; base += group.width) {
    const int e = base + group.lane, k = e / n_channels, c = e - k * n_channels;
    const float w = group.from(weight, k);
    if (k < count) out[e] = a.grad_colour ? w * __ldg(a.grad_colour + r * n_channels + c) : 0.0f;
  }
}

// Gradients of the edges of a block. Dense: every lane writes the edge behind its sample, which the next one shares;
// `behind` is the first sample of the block behind. The ray's first edge comes with its first block.
template <bool kPacked>
__device__ __forceinline__ void edge_grads(const Args& a, const Group& group, const Ray& ray, std::int64_t i,
                                           bool inside, const Pull& own, Pull& behind) {
  float* out = a.grad_edges + (ray.edges - a.in.edges);
  if constexpr (kPacked) {
    if (!inside) return;
    out[2 * i] = own.shift - own.stretch;
    out[2 * i + 1] = own.shift + own.stretch;
  } else {
    const float next_shift = group.next(own.shift, behind.shift),
                next_stretch = group.next(own.stretch, behind.stretch);
    if (inside) out[i + 1] = own.shift + next_shift + (own.stretch - next_stretch);
    if (inside && i == 0) out[0] = own.shift - own.stretch;
    behind = {group.from(own.shift, 0), group.from(own.stretch, 0)};
  }
}

// What light arrives at every block but the first goes to where the gradient of the block's first sample will be: lane
// 0 writes it there and is the only one to read it.
template <bool kPacked>
__device__ __forceinline__ void store_arrivals(const Args& a, const Group& group, const Ray& ray) {
  float transmittance = 1;
  for (std::int64_t begin = 0; __any_sync(kFullWarp, begin + group.width < ray.count); begin += group.width) {
    const std::int64_t i = begin + group.lane;
    float alpha = 0, through = 1;
    if (i < ray.count && transmittance != 0) {
      const Span span = span_at<kPacked>(ray, i);
      core::attenuate(__ldg(a.in.sigma + ray.begin + i) * (span.t1 - span.t0), alpha, through);
    }
    transmittance = pass(group, transmittance, alpha, through).leaves;
    if (begin + group.width < ray.count && group.lane == 0)
      a.grad_sigma[ray.begin + begin + group.width] = transmittance;
  }
}

template <bool kPacked, int kChannels>
__device__ __forceinline__ void grad_ray(const Args& a, const Group& group, std::int64_t r) {
  const Ray ray = ray_at<kPacked>(a.in, r);
  const RayGrads<kChannels> from(a, r);
  store_arrivals<kPacked>(a, group, ray);
  float sum_behind = 0;
  Pull behind{0, 0};
  const std::int64_t last = ((ray.count + group.width - 1) >> group.log_width << group.log_width) - group.width;
  for (std::int64_t begin = last; __any_sync(kFullWarp, begin >= 0); begin -= group.width) {
    const std::int64_t i = begin + group.lane, sample = ray.begin + i;
    const bool inside = begin >= 0 && i < ray.count;
    float arrives = begin > 0 && group.lane == 0 ? a.grad_sigma[ray.begin + begin] : 1.0f;
    arrives = group.from(arrives, 0);
    float alpha = 0, through = 1, length = 0, sigma = 0, grad = 0;
    if (inside && arrives != 0) {  // behind an opaque wall all gradients are 0
      const Span span = span_at<kPacked>(ray, i);
      length = span.t1 - span.t0, sigma = __ldg(a.in.sigma + sample);
      core::attenuate(sigma * length, alpha, through);
      grad = weight_grad(a, from, r, sample, span);
    }
    const Passage passage = pass(group, arrives, alpha, through);
    const float sums = group.suffix_sum(grad * passage.weight);
    const float to_tau = core::grad_tau(grad, passage.after, sum_behind + group.next(sums, 0.0f));
    sum_behind += group.from(sums, 0);
    if (inside) a.grad_sigma[sample] = to_tau * length;
    if (a.grad_sample_colour)
      colour_grads<kChannels>(a, group, passage.weight, r, ray.begin + begin, begin >= 0 ? ray.count - begin : 0);
    if (a.grad_edges)
      edge_grads<kPacked>(a, group, ray, i, inside, {from.half_depth * passage.weight, to_tau * sigma}, behind);
  }
  if (!kPacked && a.grad_edges && ray.count == 0 && r < a.in.n_rays && group.lane == 0)
    a.grad_edges[ray.edges - a.in.edges] = 0;  // the lone edge of a ray without samples
}

template <bool kPacked, int kChannels>
__global__ void __launch_bounds__(kThreads, 4) grad_rays(const __grid_constant__ Args a, int log_width) {
  const Group group(log_width);
  for_groups(group, a.in.n_rays, [&](std::int64_t r) { grad_ray<kPacked, kChannels>(a, group, r); });
}

}  // namespace

void composite_backward(const Args& args, int device, void* stream) {
  if (args.in.n_rays == 0) return;
  const DeviceGuard guard(device);
  const int log_width = ray_log_width(args.in);
  specialise_rays(args.in, [&](auto packed, auto channels) {
    if constexpr (!decltype(packed)::value && decltype(channels)::value != 0)
      if (grad_quad_blocks(args.in) > 0) return enqueue_grad_quads<decltype(channels)::value>(args, stream);
    enqueue("composite_backward", grad_rays<decltype(packed)::value, decltype(channels)::value>,
            group_grid(args.in.n_rays, log_width, kMostRayBlocks), 0, stream, args, log_width);
  });
}

}  // namespace uner3d::cuda
