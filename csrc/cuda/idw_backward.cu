// The search runs again, so that nothing of size (m, k) is kept. A thread differentiates its query by weights and
// positions; the warp adds to the values of its neighbours together, neighbouring lanes at neighbouring channels.
#include "../ops/idw.h"
#include "idw_rows.cuh"
#include "pair_reduce.cuh"
#include "spatial_order.cuh"

namespace uner3d::cuda {
namespace {

using Args = IdwArgs<float>;

// Where pairs go that are added up later, in a fixed order; nulls where they are added at once.
struct Sink {
  std::uint32_t *points, *numbers;
  float *position, *value, *weight;
};

struct Job {
  Args a;
  KnnLevels levels;
  core::Key<float> limit;
  TypedRows values;
  const void* grad_out;
  IdwGrads<float> grads;
  Sink sink;
  IdwChunk chunk;
};

// slope[j]: g . (value_j - mean) / sum. The columns have the stride of `found`.
template <class V>
__device__ __forceinline__ void fill_slopes(const Args& a, const core::IdwRow& r, const core::NeighbourColumns& found,
                                            const V* values, const V* g, float* slope) {
  float mean = 0.0f;
  for (int j = 0; j < r.n; ++j) {
    const V* value = values + found.point(j) * a.c;
    float dot = 0.0f;
    for (std::int64_t c = 0; c < a.c; ++c) dot += to_float(g[c]) * to_float(value[c]);
    slope[j * found.stride] = dot;
    mean += core::row_share(a, r, found, j) * dot;
  }
  for (int j = 0; j < r.n; ++j) slope[j * found.stride] = (slope[j * found.stride] - mean) / r.sum;
}

__device__ __forceinline__ void add_pair(const IdwGrads<float>& grads, std::int64_t p, const core::IdwPair& pair,
                                         const float* difference) {
  if (grads.weights != nullptr) atomicAdd(grads.weights + p, pair.weight);
  if (grads.points == nullptr) return;
#pragma unroll
  for (int d = 0; d < 3; ++d) atomicAdd(grads.points + 3 * p + d, -pair.position * difference[d]);
}

__device__ __forceinline__ void emit_pair(const Sink& sink, std::int64_t at, std::int64_t p,
                                          const core::IdwPair& pair) {
  sink.points[at] = static_cast<std::uint32_t>(p);
  sink.numbers[at] = static_cast<std::uint32_t>(at);
  sink.position[at] = pair.position;
  sink.value[at] = pair.value;
  sink.weight[at] = pair.weight;
}

// Query number i of the chunk: its own gradient, and what its neighbours get by weight and position. Leaves their
// shares where distances were.
__device__ __forceinline__ void differentiate(const Job& job, std::int64_t i, std::int64_t row, const core::IdwRow& r,
                                              const core::NeighbourColumns& found, const float* slope) {
  const Args& a = job.a;
  const float* q = a.queries + 3 * row;
  float sum[3] = {};
  for (int j = 0; j < r.n; ++j) {
    const std::int64_t p = found.point(j);
    const core::IdwPair pair = core::differentiate_pair(a, r, found, j, slope[j * found.stride]);
    const float* x = a.tree.points + 3 * p;
    const float difference[3] = {q[0] - x[0], q[1] - x[1], q[2] - x[2]};
#pragma unroll
    for (int d = 0; d < 3; ++d) sum[d] += pair.position * difference[d];
    if (job.sink.points != nullptr)
      emit_pair(job.sink, i * a.k + j, p, pair);
    else
      add_pair(job.grads, p, pair, difference);
    found.distance2(j) = pair.value;
  }
  if (job.sink.points != nullptr)
    for (int j = r.n; j < a.k; ++j) emit_pair(job.sink, i * a.k + j, core::kNoIndex, {});
  if (job.grads.queries == nullptr) return;
#pragma unroll
  for (int d = 0; d < 3; ++d) job.grads.queries[3 * row + d] = sum[d];
}

template <int K>
struct Shared {
  std::int32_t index[K * kIdwThreads<K>];
  float dist2[K * kIdwThreads<K>];  // then the share
  float slope[K * kIdwThreads<K>];
};

template <int K, class V>
__device__ __forceinline__ void scatter_values(const Job& job, const Shared<K>& shared, const V* grad_out,
                                               std::int64_t own_row, int own_n) {
  const int first = threadIdx.x / kWarp * kWarp;
  for (int q = 0; q < kWarp; ++q) {
    const std::int64_t row = __shfl_sync(0xffffffffu, own_row, q);
    const V* g = grad_out + row * job.a.c;
    for_cells_of_warp(__shfl_sync(0xffffffffu, own_n, q), job.a.c, [&](int j, std::int64_t c) {
      const int at = j * kIdwThreads<K> + first + q;
      atomicAdd(job.grads.values + shared.index[at] * job.a.c + c, shared.dist2[at] * to_float(g[c]));
    });
  }
}

// Blocks on a multiprocessor that leave each thread enough registers.
template <int K>
constexpr int kBlocks = K <= 8 ? 6 : (K <= 16 ? 5 : 4);

template <int K>
__global__ void __launch_bounds__(kIdwThreads<K>, kBlocks<K>) backward(const __grid_constant__ Job job) {
  __shared__ Shared<K> shared;
  const Args& a = job.a;
  const core::NeighbourColumns columns{shared.index + threadIdx.x, shared.dist2 + threadIdx.x, kIdwThreads<K>};
  float* slope = shared.slope + threadIdx.x;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kIdwThreads<K>;
  for (std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kIdwThreads<K>; first < job.chunk.n;
       first += step) {
    const std::int64_t i = first + threadIdx.x;
    const std::int64_t row = i < job.chunk.n ? job.chunk.base + job.chunk.order[i] : 0;
    core::IdwRow weighed{};  // no neighbours
    if (i < job.chunk.n)
      weighed = core::weigh_row(a, row, columns, fill_columns<K>(a, job.levels, job.limit, row, columns));
    with_type(job.values.type, [&](auto null) {
      using Pointer = decltype(null);
      const auto grad_out = static_cast<Pointer>(job.grad_out);
      if (i < job.chunk.n) {
        fill_slopes(a, weighed, columns, static_cast<Pointer>(job.values.data), grad_out + row * a.c, slope);
        differentiate(job, i, row, weighed, columns, slope);
      }
      __syncwarp();
      if (job.grads.values != nullptr && job.sink.points == nullptr)
        scatter_values<K>(job, shared, grad_out, row, weighed.n);
    });
    __syncwarp();  // all have read what the next queries overwrite
  }
}

// Scratch memory of a chunk of queries.
struct Arrays {
  Arrays(Scratch& scratch, std::int64_t n_queries, int k, bool fixed_order)
      : most(std::min(n_queries, fixed_order ? std::min(pair_chunk_queries(k), kQueryChunk) : kQueryChunk)),
        queries(scratch, most),
        pairs(scratch, fixed_order ? most * k : 0, true) {}

  std::int64_t most;
  QueryOrder queries;
  Pairs pairs;
};

}  // namespace

std::int64_t idw_backward_scratch(std::int64_t n_queries, int k, bool fixed_order, int device) {
  const DeviceGuard guard(device);
  Scratch scratch(nullptr);
  (void)Arrays(scratch, n_queries, k, fixed_order);
  return scratch.used();
}

void idw_backward(const Args& args, const TypedRows& values, const void* grad_out, const IdwGrads<float>& grads,
                  bool fixed_order, void* scratch, int device, void* stream) {
  if (args.m == 0) return;
  const DeviceGuard guard(device);
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  Scratch memory(scratch);
  Arrays arrays(memory, args.m, args.k, fixed_order);
  const bool emit = fixed_order && (grads.values != nullptr || grads.weights != nullptr || grads.points != nullptr);
  Job job{args, knn_levels(args.tree.n), core::limit_key<float>(args.radius * args.radius), values, grad_out, grads, {},
          {}};
  for (std::int64_t base = 0; base < args.m; base += arrays.most) {
    const std::int64_t n = std::min(arrays.most, args.m - base);
    job.chunk = {arrays.queries.sort(args.queries + 3 * base, n, cuda_stream), base, n};
    Pairs& pairs = arrays.pairs;
    if (emit) job.sink = {pairs.buffers.keys, pairs.buffers.values, pairs.position, pairs.value, pairs.weight};
    with_capacity(args.k, [&](auto capacity) {
      constexpr int kCapacity = decltype(capacity)::value, kThreadsHere = kIdwThreads<kCapacity>;
      backward<kCapacity><<<grid_size(ceil_div(n, kThreadsHere)), kThreadsHere, 0, cuda_stream>>>(job);
    });
    check_launch("idw_backward");
    if (emit)
      reduce_pairs(
          {args.tree.points, args.queries, grad_out, values.type, args.c, grads, args.k, job.chunk.order, base, n},
          pairs, cuda_stream);
  }
}

}  // namespace uner3d::cuda
