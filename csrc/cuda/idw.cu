// A thread finds and weighs the neighbours of its query; then the warp blends its 32 rows together, so that reads of
// values and writes of rows are coalesced over channels.
#include "../ops/idw.h"
#include "idw_rows.cuh"
#include "spatial_order.cuh"

namespace uner3d::cuda {
namespace {

using Args = IdwArgs<float>;

// Rows of a warp: the columns hold shares where distances were.
template <int K>
struct Shared {
  std::int32_t index[K * kIdwThreads<K>];
  float share[K * kIdwThreads<K>];
  std::int64_t row[kIdwThreads<K>];
  int n[kIdwThreads<K>];
};

template <int K, class V>
__device__ __forceinline__ void blend(const Shared<K>& shared, const V* values, V* out, std::int64_t n_channels) {
  const int first = threadIdx.x / kWarp * kWarp;
  for_cells_of_warp(kWarp, n_channels, [&](int q, std::int64_t c) {
    const int column = first + q;
    if (shared.n[column] < 0) return;
    float sum = 0.0f;
    for (int j = 0; j < shared.n[column]; ++j) {
      const std::int64_t point = shared.index[j * kIdwThreads<K> + column];
      sum += shared.share[j * kIdwThreads<K> + column] * to_float(values[point * n_channels + c]);
    }
    from_float(sum, out + shared.row[column] * n_channels + c);
  });
}

// Blocks on a multiprocessor that leave each thread enough registers.
template <int K>
constexpr int kBlocks = K <= 8 ? 7 : (K <= 16 ? 5 : 4);

template <int K>
__global__ void __launch_bounds__(kIdwThreads<K>, kBlocks<K>)
    forward(const __grid_constant__ Args a, const __grid_constant__ KnnLevels levels, core::Key<float> limit,
            const TypedRows values, const TypedRows out, const IdwChunk chunk) {
  __shared__ Shared<K> shared;
  const core::NeighbourColumns columns{shared.index + threadIdx.x, shared.share + threadIdx.x, kIdwThreads<K>};
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kIdwThreads<K>;
  for (std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kIdwThreads<K>; first < chunk.n; first += step) {
    const std::int64_t i = first + threadIdx.x;
    shared.n[threadIdx.x] = -1;  // no query
    if (i < chunk.n) {
      const std::int64_t row = chunk.base + chunk.order[i];
      const int found = fill_columns<K>(a, levels, limit, row, columns);
      const core::IdwRow weighed = core::weigh_row(a, row, columns, found);
      for (int j = 0; j < weighed.n; ++j) columns.distance2(j) = core::row_share(a, weighed, columns, j);
      shared.row[threadIdx.x] = row;
      shared.n[threadIdx.x] = weighed.n;
    }
    __syncwarp();
    with_type(values.type, [&](auto null) {
      using V = std::remove_const_t<std::remove_pointer_t<decltype(null)>>;
      blend<K>(shared, static_cast<const V*>(values.data), static_cast<V*>(out.data), a.c);
    });
    __syncwarp();  // all have read what the next queries overwrite
  }
}

}  // namespace

std::int64_t idw_forward_scratch(std::int64_t n_queries, int device) { return knn_forward_scratch(n_queries, device); }

void idw_forward(const Args& args, const TypedRows& values, const TypedRows& out, void* scratch, int device,
                 void* stream) {
  if (args.m == 0 || args.c == 0) return;
  const DeviceGuard guard(device);
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  const KnnLevels levels = knn_levels(args.tree.n);
  const core::Key<float> limit = core::limit_key<float>(args.radius * args.radius);
  Scratch memory(scratch);
  QueryOrder queries(memory, std::min(args.m, kQueryChunk));
  for (std::int64_t base = 0; base < args.m; base += kQueryChunk) {
    const std::int64_t n = std::min(kQueryChunk, args.m - base);
    const IdwChunk chunk{queries.sort(args.queries + 3 * base, n, cuda_stream), base, n};
    with_capacity(args.k, [&](auto capacity) {
      constexpr int kCapacity = decltype(capacity)::value, kThreadsHere = kIdwThreads<kCapacity>;
      forward<kCapacity><<<grid_size(ceil_div(n, kThreadsHere)), kThreadsHere, 0, cuda_stream>>>(args, levels, limit,
                                                                                                 values, out, chunk);
    });
    check_launch("idw_forward");
  }
}

}  // namespace uner3d::cuda
