// Dense rays in fours of neighbouring samples, "quads": a lane takes one, a group of up to eight lanes a block of them.
// Four samples a lane pay once for what a lane costs whatever it holds: the scan over a group and the way to the data.
#pragma once

#include "composite_rays.cuh"

namespace uner3d::cuda {

constexpr int kQuad = 4, kLogMostQuads = 3;
constexpr int kBlockSamples = kQuad << kLogMostQuads;  // of a block of quads at most
constexpr std::int64_t kMostQuadSamples = 1 << 24;     // positions are 32-bit

// A ray's quads are those of memory, whose samples start at a multiple of 4: vectors stay aligned whatever the length
// of the rays, and the same samples come together wherever the storage starts. So a ray's first and last quad may
// belong to its neighbours too. A position counts samples from the ray's first quad on.
struct QuadRay {
  std::int64_t first;  // sample at position 0
  int begin, end;      // positions of the ray's own samples; none for rays beyond the last
  int read_end;        // position up to which its quads may be read: at the end of all rays the last may be cut short
  std::int64_t edge;   // index of the edge in front of position 0, were it a sample of this ray

  __device__ __forceinline__ QuadRay(const CompositeSamples<float>& in, std::int64_t r) {
    const bool exists = r < in.n_rays;
    const std::int64_t sample = exists ? r * in.n_samples : 0;
    begin = static_cast<int>(sample & (kQuad - 1));
    end = exists ? begin + static_cast<int>(in.n_samples) : begin;
    first = sample - begin;
    edge = exists ? first + r : 0;
    read_end = static_cast<int>(min(in.n_rays * in.n_samples - first, std::int64_t(end) + kQuad - 1));
  }
  __device__ __forceinline__ bool holds(int position) const { return position >= begin && position < end; }
  // Samples of the quad at `position` that may be read: none where the ray is over.
  __device__ __forceinline__ int readable(int position) const {
    return position < end ? min(read_end - position, kQuad) : 0;
  }
};

// Positions that rays of n samples take at most.
inline std::int64_t quad_positions(std::int64_t n) { return n + (n % 4 == 0 ? 0 : n % 2 == 0 ? 2 : 3); }

inline int quad_log_width(std::int64_t n_positions) {
  return std::min(kLogMostQuads, log_group(ceil_div(n_positions, kQuad)));
}

// The first `count` of four samples of kEach floats, zeros for the others. `vector`: `from` is aligned to 16 bytes.
template <int kEach>
__device__ __forceinline__ void load_quad(const float* from, int count, bool vector, float (&to)[kQuad * kEach]) {
#pragma unroll
  for (float& value : to) value = 0;
  if (vector && count == kQuad) {
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const float4 v = __ldg(reinterpret_cast<const float4*>(from) + j);
      to[4 * j] = v.x, to[4 * j + 1] = v.y, to[4 * j + 2] = v.z, to[4 * j + 3] = v.w;
    }
  } else if (count > 0) {
#pragma unroll
    for (int k = 0; k < kQuad * kEach; ++k)
      if (k / kEach < count) to[k] = __ldg(from + k);
  }
}

// Edge k lies in front of sample k.
struct QuadSpans {
  float sigma[kQuad], edges[kQuad + 1];
};

__device__ __forceinline__ QuadSpans load_spans(const CompositeSamples<float>& in, const QuadRay& ray, int position,
                                                int count, bool vector) {
  QuadSpans out;
  load_quad<1>(in.sigma + ray.first + position, count, vector, out.sigma);
  const float* edges = in.edges + ray.edge + position;
#pragma unroll
  for (int k = 0; k <= kQuad; ++k)
    out.edges[k] = count > 0 && position + k <= ray.end ? __ldg(edges + k) : 0.0f;  // before the ray there are others
  return out;
}

// As Passage, of a quad; what a sample does that is not the ray's, or lies behind an opaque wall, is nothing.
struct QuadPassage {
  float weight[kQuad], after[kQuad];
  float leaves;  // what passes the block

  __device__ __forceinline__ QuadPassage(const Group& group, const QuadRay& ray, int position, const QuadSpans& spans,
                                         float transmittance) {
    float alpha[kQuad], through[kQuad];
#pragma unroll
    for (int k = 0; k < kQuad; ++k) {
      core::attenuate(spans.sigma[k] * (spans.edges[k + 1] - spans.edges[k]), alpha[k], through[k]);
      if (!ray.holds(position + k) || transmittance == 0) alpha[k] = 0, through[k] = 1;
    }
    const float passed = group.prefix_product((through[0] * through[1]) * (through[2] * through[3]));
    float arrives = core::flush_opaque(transmittance * group.previous(passed, 1.0f));
#pragma unroll
    for (int k = 0; k < kQuad; ++k) {
      weight[k] = arrives * alpha[k];
      arrives = after[k] = core::flush_opaque(arrives * through[k]);
    }
    leaves = core::flush_opaque(transmittance * group.from(passed, group.width - 1));
  }
};

}  // namespace uner3d::cuda
