#include "../core/knn.h"
#include "idw_rows.cuh"
#include "launch.cuh"
#include "pair_reduce.cuh"

namespace uner3d::cuda {
namespace {

struct SortedPairs {
  const std::uint32_t* point;
  const std::uint32_t* number;
  const float *position, *value, *weight;
  std::int64_t n;
};

// Channel c of what a point gets, from pair `begin` on: its values, then its weight, then its coordinates.
template <class V>
__device__ __forceinline__ void add_channel(const PairReduceArgs& a, const SortedPairs& pairs, const V* grad_out,
                                            std::int64_t begin, std::int64_t c) {
  const std::uint32_t point = pairs.point[begin];
  const std::int64_t d = c - a.c - 1;  // coordinate, -1: the weight
  const float x = d >= 0 ? a.points[3 * static_cast<std::int64_t>(point) + d] : 0.0f;
  float sum = 0.0f;
  for (std::int64_t i = begin; i < pairs.n && pairs.point[i] == point; ++i) {
    const std::uint32_t pair = pairs.number[i], query = pair / static_cast<std::uint32_t>(a.k);
    const std::int64_t row = a.base + (a.order == nullptr ? query : a.order[query]);
    if (d >= 0)
      sum -= pairs.position[pair] * (a.queries[3 * row + d] - x);
    else if (d == -1)
      sum += pairs.weight[pair];
    else
      sum += pairs.value[pair] * to_float(grad_out[row * a.c + c]);
  }
  float* grads = d >= 0 ? a.grads.points + 3 * static_cast<std::int64_t>(point) + d
                        : (d == -1 ? a.grads.weights + point : a.grads.values + point * a.c + c);
  *grads += sum;  // no other thread has this point and channel, and chunks follow one another
}

// A lane looks at one pair; where that is the first of its point, the whole warp adds up that point, a lane a channel.
__global__ void __launch_bounds__(kThreads, 4)
    reduce(const __grid_constant__ PairReduceArgs a, const SortedPairs pairs) {
  const int lane = threadIdx.x % kWarp;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  const std::int64_t begin = a.grads.values != nullptr ? 0 : a.c + (a.grads.weights != nullptr ? 0 : 1);
  const std::int64_t end = a.c + (a.grads.points != nullptr ? 4 : 1);
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i - lane < pairs.n;
       i += step) {
    const bool is_first = i < pairs.n && pairs.point[i] != static_cast<std::uint32_t>(core::kNoIndex) &&
                          (i == 0 || pairs.point[i - 1] != pairs.point[i]);
    for (unsigned heads = __ballot_sync(0xffffffffu, is_first); heads != 0; heads &= heads - 1) {
      const std::int64_t head = i - lane + core::lowest_bit(heads);
      with_type(a.type, [&](auto grad_out) {
        grad_out = static_cast<decltype(grad_out)>(a.grad_out);
        for (std::int64_t c = begin + lane; c < end; c += kWarp)
          if (c != a.c || a.grads.weights != nullptr) add_channel(a, pairs, grad_out, head, c);
      });
    }
  }
}

}  // namespace

void reduce_pairs(const PairReduceArgs& args, Pairs& pairs, cudaStream_t stream) {
  const std::int64_t n_pairs = args.n * args.k;
  sort_pairs(pairs.buffers, n_pairs, 31, stream);
  const SortedPairs sorted{pairs.buffers.keys, pairs.buffers.values, pairs.position,
                           pairs.value,        pairs.weight,         n_pairs};
  reduce<<<grid_size(ceil_div(n_pairs, kThreads)), kThreads, 0, stream>>>(args, sorted);
  check_launch("reduce");
}

}  // namespace uner3d::cuda
