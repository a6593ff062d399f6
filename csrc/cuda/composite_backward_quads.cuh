// Gradients of dense rays of up to about 256 samples, in quads. As composite_backward.cu, but what arrives at the
// blocks stays in registers, and what the second sweep reads again is little and lies in the nearest cache.
#pragma once

#include "composite_grads.cuh"
#include "quad_store.cuh"

namespace uner3d::cuda {

constexpr int kMostGradBlocks = 1 << kLogMostQuads;  // a lane keeps what arrives at one

// Whether 16-byte accesses are allowed to what is read and written a sample at a time.
struct QuadAccess {
  bool reads, writes;

  __device__ __forceinline__ explicit QuadAccess(const CompositeGradArgs<float>& a)
      : reads(is_aligned16(a.in.sigma) && is_aligned16(a.in.colour) && is_aligned16(a.grad_weights)),
        writes(is_aligned16(a.grad_sigma) && is_aligned16(a.grad_sample_colour)) {}
};

// What the gradient of the weights of a quad comes from, besides its edges.
template <int kChannels>
struct QuadUpstream {
  float colour[kQuad * kChannels] = {}, weight[kQuad] = {};

  __device__ __forceinline__ QuadUpstream(const CompositeGradArgs<float>& a, const QuadRay& ray, int position,
                                          int count, bool vector) {
    const std::int64_t sample = ray.first + position;
    if (a.grad_colour) load_quad<kChannels>(a.in.colour + sample * kChannels, count, vector, colour);
    if (a.grad_weights) load_quad<1>(a.grad_weights + sample, count, vector, weight);
  }
};

// What lies behind a block: the sum of weight times its gradient, and what the first sample asks of its edges.
struct Behind {
  float sum = 0;
  Pull pull{0, 0};
};

// Of a quad, d loss / d tau from d loss / d weight.
__device__ __forceinline__ void quad_tau_grads(const Group& group, const QuadPassage& passage,
                                               const float (&grad)[kQuad], float& sum_behind, float (&to_tau)[kQuad]) {
  float sums[kQuad + 1] = {};  // over this lane's samples from k on
#pragma unroll
  for (int k = kQuad - 1; k >= 0; --k) sums[k] = sums[k + 1] + grad[k] * passage.weight[k];
  const float from_here = group.suffix_sum(sums[0]), from_next = sum_behind + group.next(from_here, 0.0f);
#pragma unroll
  for (int k = 0; k < kQuad; ++k) to_tau[k] = core::grad_tau(grad[k], passage.after[k], from_next + sums[k + 1]);
  sum_behind += group.from(from_here, 0);
}

// Every sample writes the edge behind it, which the next one shares, and the ray's first also that in front of it.
__device__ __forceinline__ void quad_edge_grads(const CompositeGradArgs<float>& a, const Group& group,
                                                const QuadRay& ray, int begin, const Pull (&own)[kQuad], Pull& behind) {
  const Pull next{group.next(own[0].shift, behind.shift), group.next(own[0].stretch, behind.stretch)};
  behind = {group.from(own[0].shift, 0), group.from(own[0].stretch, 0)};
  float* out = a.grad_edges + ray.edge + begin;
  float grads[kQuad];
#pragma unroll
  for (int k = 0; k < kQuad; ++k) {
    const Pull& after = k + 1 < kQuad ? own[k + 1 < kQuad ? k + 1 : k] : next;
    grads[k] = own[k].shift + after.shift + (own[k].stretch - after.stretch);
    if (begin + kQuad * group.lane + k == ray.begin && ray.begin < ray.end)
      out[ray.begin] = own[k].shift - own[k].stretch;  // of lane 0 in block 0, so that begin is 0
  }
  store_unaligned(group, grads, {ray.begin - begin, ray.end - begin}, out + 1);
}

// The block whose first sample is at `begin`, where `arrives` arrives.
template <int kChannels>
__device__ __forceinline__ void grad_quad_block(const CompositeGradArgs<float>& a, const Group& group,
                                                const QuadRay& ray, const RayGrads<kChannels>& from, int begin,
                                                const QuadSpans& spans, const QuadUpstream<kChannels>& upstream,
                                                float arrives, bool vector, Behind& behind) {
  const int position = begin + kQuad * group.lane;
  const OwnSamples own{ray.begin - begin, ray.end - begin};
  const QuadPassage passage(group, ray, position, spans, arrives);
  float grad[kQuad], to_tau[kQuad], to_sigma[kQuad], to_colour[kQuad * kChannels];
#pragma unroll
  for (int k = 0; k < kQuad; ++k) {
    float dot = 0;
#pragma unroll
    for (int c = 0; c < kChannels; ++c) dot += from.colour[c] * upstream.colour[k * kChannels + c];
    grad[k] = from.opacity + from.half_depth * (spans.edges[k] + spans.edges[k + 1]) + upstream.weight[k] + dot;
    if (!ray.holds(position + k) || arrives == 0) grad[k] = 0;  // behind an opaque wall all gradients are 0
  }
  quad_tau_grads(group, passage, grad, behind.sum, to_tau);
  Pull pull[kQuad];
#pragma unroll
  for (int k = 0; k < kQuad; ++k) {
    const bool counts = ray.holds(position + k) && arrives != 0;
    to_sigma[k] = counts ? to_tau[k] * (spans.edges[k + 1] - spans.edges[k]) : 0.0f;
    pull[k] = {from.half_depth * passage.weight[k], counts ? to_tau[k] * spans.sigma[k] : 0.0f};
#pragma unroll
    for (int c = 0; c < kChannels; ++c) to_colour[k * kChannels + c] = passage.weight[k] * from.colour[c];
  }
  const std::int64_t first = ray.first + begin;
  store_block<1>(group, to_sigma, own, vector, a.grad_sigma + first);
  if (a.grad_sample_colour)
    store_block<kChannels>(group, to_colour, own, vector, a.grad_sample_colour + first * kChannels);
  if (a.grad_edges) quad_edge_grads(a, group, ray, begin, pull, behind.pull);
}

// The arrival at block b stays with lane b of the group. kFull: see below.
template <int kChannels, bool kFull>
__device__ __forceinline__ void grad_quads(const CompositeGradArgs<float>& a, const Group& group,
                                           const QuadAccess& access, int n_blocks, std::int64_t r) {
  const QuadRay ray(a.in, r);
  const RayGrads<kChannels> from(a, r);
  const int step = kQuad * group.width, place = kQuad * group.lane, last = kFull ? n_blocks - 1 : 0;
  const auto spans_at = [&](int b) {
    const int position = b * step + place;
    return load_spans(a.in, ray, position, ray.readable(position), access.reads);
  };
  const auto upstream_at = [&](int b, bool lit) {
    const int position = b * step + place, count = lit ? ray.readable(position) : 0;
    return QuadUpstream<kChannels>(a, ray, position, count, access.reads);
  };
  QuadUpstream<kChannels> upstream = upstream_at(last, true);
  QuadSpans spans = spans_at(0);
  float transmittance = 1, arrivals = 1;
  UNER3D_ROLL for (int b = 0; b < last; ++b) {
    const QuadSpans now = spans;
    spans = spans_at(b + 1);  // on its way while this block is worked on, as is the next below
    transmittance = QuadPassage(group, ray, b * step + place, now, transmittance).leaves;
    if (group.lane == b + 1) arrivals = transmittance;
  }
  Behind behind;
  UNER3D_ROLL for (int b = last; b >= 0; --b) {
    const QuadUpstream<kChannels> now = upstream;
    const QuadSpans now_spans = spans;
    const float arrives = group.from(arrivals, b);
    if (b > 0) spans = spans_at(b - 1), upstream = upstream_at(b - 1, group.from(arrivals, b - 1) != 0);
    grad_quad_block(a, group, ray, from, b * step, now_spans, now, arrives, access.writes, behind);
  }
}

// kFull: groups are as wide as they get, which unrolls what goes over a group. Narrower ones have one block only.
template <int kChannels, bool kFull>
__global__ void __launch_bounds__(kThreads, 2)
    grad_dense(const __grid_constant__ CompositeGradArgs<float> a, int log_width, int n_blocks) {
  const Group group(kFull ? kLogMostQuads : log_width);
  const QuadAccess access(a);
  for_groups(group, a.in.n_rays, [&](std::int64_t r) { grad_quads<kChannels, kFull>(a, group, access, n_blocks, r); });
}

// Blocks of quads that a dense ray takes; 0 where it does not go this way.
inline int grad_quad_blocks(const CompositeSamples<float>& in) {
  const std::int64_t n_blocks = ceil_div(quad_positions(in.n_samples), kBlockSamples);
  return n_blocks <= kMostGradBlocks ? static_cast<int>(n_blocks) : 0;
}

template <int kChannels>
void enqueue_grad_quads(const CompositeGradArgs<float>& args, void* stream) {
  const int log_width = quad_log_width(quad_positions(args.in.n_samples));
  enqueue("composite_backward", log_width == kLogMostQuads ? grad_dense<kChannels, true> : grad_dense<kChannels, false>,
          group_grid(args.in.n_rays, log_width, kMostRayBlocks), kTileBytes, stream, args, log_width,
          grad_quad_blocks(args.in));
}

}  // namespace uner3d::cuda
