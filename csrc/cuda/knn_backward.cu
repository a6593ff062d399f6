// d dist2 / d query = 2 (query - point) = -d dist2 / d point. One thread a query.
#include "../core/knn.h"
#include "../ops/knn.h"
#include "launch.cuh"
#include "pair_reduce.cuh"

namespace uner3d::cuda {
namespace {

using Args = KnnGradArgs<float>;

// Where the pairs of the queries from `base` on go, instead of being added up at once.
struct Sink {
  std::uint32_t *points, *numbers;
  float* slopes;
};

// Gradient of a query's position; add(pair, point, slope, difference) gets what its neighbours get.
template <class Add>
__device__ __forceinline__ void differentiate(const Args& a, std::int64_t row, const Add& add) {
  const float* q = a.queries + 3 * row;
  float sum[3] = {};
  for (int j = 0; j < a.k; ++j) {
    const std::int64_t i = row * a.k + j, p = a.index[i];
    if (p < 0) {
      add(i, p, 0.0f, sum);
      continue;
    }
    const float slope = 2.0f * a.grad_dist2[i];
    const float difference[3] = {q[0] - a.points[3 * p], q[1] - a.points[3 * p + 1], q[2] - a.points[3 * p + 2]};
#pragma unroll
    for (int d = 0; d < 3; ++d) sum[d] += slope * difference[d];
    add(i, p, slope, difference);
  }
  if (a.grad_queries == nullptr) return;
#pragma unroll
  for (int d = 0; d < 3; ++d) a.grad_queries[3 * row + d] = sum[d];
}

__global__ void __launch_bounds__(kThreads) add_in_any_order(const __grid_constant__ Args a) {
  grid_stride(a.m, [&](std::int64_t row) {
    differentiate(a, row, [&](std::int64_t, std::int64_t p, float slope, const float* difference) {
      if (a.grad_points == nullptr || p < 0) return;
#pragma unroll
      for (int d = 0; d < 3; ++d) atomicAdd(a.grad_points + 3 * p + d, -slope * difference[d]);
    });
  });
}

__global__ void __launch_bounds__(kThreads)
    emit_pairs(const __grid_constant__ Args a, const Sink sink, std::int64_t base, std::int64_t n) {
  grid_stride(n, [&](std::int64_t row) {
    differentiate(a, base + row, [&](std::int64_t i, std::int64_t p, float slope, const float*) {
      const std::int64_t pair = i - base * a.k;
      sink.points[pair] = static_cast<std::uint32_t>(p < 0 ? core::kNoIndex : p);
      sink.numbers[pair] = static_cast<std::uint32_t>(pair);
      sink.slopes[pair] = slope;
    });
  });
}

}  // namespace

std::int64_t knn_backward_scratch(std::int64_t n_queries, int k, int device) {
  const DeviceGuard guard(device);
  Scratch scratch(nullptr);
  (void)Pairs(scratch, std::min(n_queries, pair_chunk_queries(k)) * k, false);
  return scratch.used();
}

void knn_backward(const Args& args, void* scratch, int device, void* stream) {
  if (args.m == 0) return;
  const DeviceGuard guard(device);
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  if (scratch == nullptr || args.grad_points == nullptr) {
    add_in_any_order<<<grid_size(ceil_div(args.m, kThreads)), kThreads, 0, cuda_stream>>>(args);
    return check_launch("add_in_any_order");
  }
  const std::int64_t most = std::min(args.m, pair_chunk_queries(args.k));
  Scratch memory(scratch);
  Pairs pairs(memory, most * args.k, false);
  for (std::int64_t base = 0; base < args.m; base += most) {
    const std::int64_t n = std::min(most, args.m - base);
    const Sink sink{pairs.buffers.keys, pairs.buffers.values, pairs.position};
    emit_pairs<<<grid_size(ceil_div(n, kThreads)), kThreads, 0, cuda_stream>>>(args, sink, base, n);
    check_launch("emit_pairs");
    const IdwGrads<float> grads{nullptr, nullptr, nullptr, args.grad_points};
    reduce_pairs({args.points, args.queries, nullptr, ValueType::kFloat32, 0, grads, args.k, nullptr, base, n}, pairs,
                 cuda_stream);
  }
}

}  // namespace uner3d::cuda
