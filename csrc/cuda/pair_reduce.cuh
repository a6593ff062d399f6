// Adds up what each (query, neighbour) pair contributes to rows of points, in a fixed order: pairs are sorted by point,
// stably, and the pairs of a point are added one after another by one warp.
#pragma once

#include <cstdint>

#include "../ops/idw.h"
#include "radix_sort.cuh"

namespace uner3d::cuda {

constexpr std::int64_t kPairChunk = std::int64_t(1) << 22;  // pairs sorted together: bounds the scratch memory

inline std::int64_t pair_chunk_queries(int k) { return kPairChunk / k; }

// Pairs of a chunk of queries in scratch memory: pair i * k + j belongs to query number i of the chunk. The point of a
// pair that does not exist is core::kNoIndex.
struct Pairs {
  Pairs(Scratch& scratch, std::int64_t n_pairs, bool with_values)
      : buffers(take_sort_buffers<std::uint32_t>(scratch, n_pairs)),
        position(scratch.take<float>(n_pairs)),
        value(with_values ? scratch.take<float>(n_pairs) : nullptr),
        weight(with_values ? scratch.take<float>(n_pairs) : nullptr) {}

  SortBuffers<std::uint32_t> buffers;  // point, number of the pair
  float *position, *value, *weight;    // core::IdwPair
};

struct PairReduceArgs {
  const float* points;    // (n, 3)
  const float* queries;   // (m, 3)
  const void* grad_out;   // (m, c)
  ValueType type;         // of grad_out
  std::int64_t c;         // 0 where there are no values
  IdwGrads<float> grads;  // but for the queries; null where not wanted
  int k;
  const std::uint32_t* order;  // row of query i of the chunk is base + order[i], or base + i where null
  std::int64_t base, n;        // queries of the chunk
};

// Sorts the pairs and adds them to the gradients.
void reduce_pairs(const PairReduceArgs& args, Pairs& pairs, cudaStream_t stream);

}  // namespace uner3d::cuda
