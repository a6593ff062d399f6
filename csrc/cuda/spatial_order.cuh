// Bounds of segments of points, and queries sorted along a space-filling curve.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../core/space_curve.h"
#include "radix_sort.cuh"

namespace uner3d::cuda {

// A sort needs 24 bytes a query; above this number they are sorted and searched in chunks, to bound that memory.
constexpr std::int64_t kQueryChunk = std::int64_t(1) << 22;

// Bounds (n_segments, core::kBounds) of the runs of 2^segment_bits rows of points[order] (of points where order is
// null); segment_bits is at least core::kBlockBits.
void segment_bounds(const float* points, const std::uint32_t* order, std::int64_t n, int segment_bits,
                    std::uint32_t* bounds, cudaStream_t stream);

// Scratch memory of a sort of up to n queries.
struct QueryOrder {
  QueryOrder(Scratch& scratch, std::int64_t n)
      : bounds(scratch.take<std::uint32_t>(core::kBounds)), buffers(take_sort_buffers<std::uint64_t>(scratch, n)) {}

  // Rows of queries (n, 3) in the order of the curve, those that are not finite last; valid until the next sort.
  const std::uint32_t* sort(const float* queries, std::int64_t n, cudaStream_t stream);

  std::uint32_t* bounds;
  SortBuffers<std::uint64_t> buffers;
};

}  // namespace uner3d::cuda
