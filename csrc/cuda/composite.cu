#include "composite_rays.cuh"
#include "quad_store.cuh"

namespace uner3d::cuda {
namespace {

using Args = CompositeArgs<float>;

// out[c] += sum over the block of weight times colour, for any number of channels, a lane a channel. `colour` is that
// of the block's first sample, `count` the samples it has. A channel is always added to by the same lane.
__device__ __forceinline__ void add_channels(const Group& group, float weight, const float* colour, std::int64_t count,
                                             int n_channels, float* out) {
  for (int first = 0; first < n_channels; first += group.width) {
    const int c = first + group.lane;
    float sum = 0;
    for (int k = 0; k < group.width; ++k) {
      const float w = group.from(weight, k);
      if (k < count && c < n_channels && w != 0)
        sum += w * __ldg(colour + k * static_cast<std::int64_t>(n_channels) + c);
    }
    if (count > 0 && c < n_channels) out[c] += sum;
  }
}

template <bool kPacked, int kChannels>
__device__ __forceinline__ void composite_ray(const Args& a, const Group& group, std::int64_t r) {
  const Ray ray = ray_at<kPacked>(a.in, r);
  const bool exists = r < a.in.n_rays;
  const std::int64_t n_channels = kChannels ? kChannels : a.in.n_channels;
  float transmittance = 1, opacity = 0, twice_depth = 0, colour[kChannels ? kChannels : 1] = {};
  float* out = a.colour + r * n_channels;
  if (!kChannels && exists)
    for (std::int64_t c = group.lane; c < n_channels; c += group.width) out[c] = 0;
  for (std::int64_t begin = 0; __any_sync(kFullWarp, begin < ray.count); begin += group.width) {
    const std::int64_t i = begin + group.lane, sample = ray.begin + i;
    float alpha = 0, through = 1, ends = 0;
    if (i < ray.count && transmittance != 0) {  // nothing need be read behind an opaque wall
      const Span span = span_at<kPacked>(ray, i);
      core::attenuate(__ldg(a.in.sigma + sample) * (span.t1 - span.t0), alpha, through);
      ends = span.t0 + span.t1;
    }
    const Passage passage = pass(group, transmittance, alpha, through);
    transmittance = passage.leaves;
    opacity += passage.weight;
    twice_depth += passage.weight * ends;
    if (i < ray.count) a.weights[sample] = passage.weight;
    if constexpr (kChannels == 0) {
      add_channels(group, passage.weight, a.in.colour + (ray.begin + begin) * n_channels, ray.count - begin,
                   static_cast<int>(n_channels), out);
    } else if (i < ray.count && passage.weight != 0) {
#pragma unroll
      for (int c = 0; c < kChannels; ++c) colour[c] += passage.weight * __ldg(a.in.colour + sample * kChannels + c);
    }
  }
  opacity = group.sum(opacity), twice_depth = group.sum(twice_depth);
  if (exists && group.lane == 0) a.opacity[r] = opacity, a.depth[r] = 0.5f * twice_depth;
#pragma unroll
  for (int c = 0; c < kChannels; ++c) {
    const float total = group.sum(colour[c]);
    if (exists && group.lane == 0) out[c] = total;
  }
}

template <bool kPacked, int kChannels>
__global__ void __launch_bounds__(kThreads, 4) composite_rays(const __grid_constant__ Args a, int log_width) {
  const Group group(log_width);
  for_groups(group, a.in.n_rays, [&](std::int64_t r) { composite_ray<kPacked, kChannels>(a, group, r); });
}

template <int kChannels>
struct Quad {
  QuadSpans spans;
  float colour[kQuad * kChannels];
};

template <int kChannels>
__device__ __forceinline__ Quad<kChannels> load_samples(const CompositeSamples<float>& in, const QuadRay& ray,
                                                        int position, float transmittance, bool vector) {
  const int count = transmittance != 0 ? ray.readable(position) : 0;
  Quad<kChannels> out;
  out.spans = load_spans(in, ray, position, count, vector);
  load_quad<kChannels>(in.colour + (ray.first + position) * kChannels, count, vector, out.colour);
  return out;
}

// A dense ray, a block of quads after the other; while one is worked on, the next is on its way. kFull: see below.
template <int kChannels, bool kFull>
__device__ __forceinline__ void composite_quads(const Args& a, const Group& group, std::int64_t r, int n_positions,
                                                bool vector) {
  const QuadRay ray(a.in, r);
  float transmittance = 1, opacity = 0, twice_depth = 0, colour[kChannels] = {};
  Quad<kChannels> next = load_samples<kChannels>(a.in, ray, kQuad * group.lane, transmittance, vector);
  for (int begin = 0; begin < (kFull ? n_positions : 1); begin += kQuad * group.width) {
    const Quad<kChannels> now = next;
    const int position = begin + kQuad * group.lane;
    if (kFull) next = load_samples<kChannels>(a.in, ray, position + kQuad * group.width, transmittance, vector);
    const QuadPassage passage(group, ray, position, now.spans, transmittance);
    transmittance = passage.leaves;
#pragma unroll
    for (int k = 0; k < kQuad; ++k) {
      if (passage.weight[k] == 0) continue;  // what it has need not be a number
      opacity += passage.weight[k];
      twice_depth += passage.weight[k] * (now.spans.edges[k] + now.spans.edges[k + 1]);
#pragma unroll
      for (int c = 0; c < kChannels; ++c) colour[c] += passage.weight[k] * now.colour[k * kChannels + c];
    }
    store_block<1>(group, passage.weight, {ray.begin - begin, ray.end - begin}, vector, a.weights + ray.first + begin);
  }
  opacity = group.sum(opacity), twice_depth = group.sum(twice_depth);
  const bool writes = r < a.in.n_rays && group.lane == 0;
  if (writes) a.opacity[r] = opacity, a.depth[r] = 0.5f * twice_depth;
#pragma unroll
  for (int c = 0; c < kChannels; ++c) {
    const float total = group.sum(colour[c]);
    if (writes) a.colour[r * kChannels + c] = total;
  }
}

// kFull: groups are as wide as they get, which unrolls what goes over a group. Narrower ones have one block only.
template <int kChannels, bool kFull>
__global__ void __launch_bounds__(kThreads, kChannels < 4 ? 3 : 2)
    composite_dense(const __grid_constant__ Args a, int log_width, int n_positions) {
  const Group group(kFull ? kLogMostQuads : log_width);
  const bool vector = is_aligned16(a.in.sigma) && is_aligned16(a.in.colour) && is_aligned16(a.weights);
  for_groups(group, a.in.n_rays,
             [&](std::int64_t r) { composite_quads<kChannels, kFull>(a, group, r, n_positions, vector); });
}

template <int kChannels>
void enqueue_dense(const Args& args, void* stream) {
  const auto n_positions = static_cast<int>(quad_positions(args.in.n_samples));
  const int log_width = quad_log_width(n_positions);
  enqueue("composite_forward",
          log_width == kLogMostQuads ? composite_dense<kChannels, true> : composite_dense<kChannels, false>,
          group_grid(args.in.n_rays, log_width, kMostRayBlocks), 0, stream, args, log_width, n_positions);
}

}  // namespace

void composite_forward(const Args& args, int device, void* stream) {
  if (args.in.n_rays == 0) return;
  const DeviceGuard guard(device);
  const int log_width = ray_log_width(args.in);
  specialise_rays(args.in, [&](auto packed, auto channels) {
    if constexpr (!decltype(packed)::value && decltype(channels)::value != 0)
      if (args.in.n_samples <= kMostQuadSamples) return enqueue_dense<decltype(channels)::value>(args, stream);
    enqueue("composite_forward", composite_rays<decltype(packed)::value, decltype(channels)::value>,
            group_grid(args.in.n_rays, log_width, kMostRayBlocks), 0, stream, args, log_width);
  });
}

}  // namespace uner3d::cuda
