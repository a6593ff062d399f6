// One thread a query. Queries are sorted along a curve, so that the threads of a warp walk the same nodes.
#include "../ops/knn.h"
#include "knn_search.cuh"
#include "spatial_order.cuh"

namespace uner3d::cuda {
namespace {

using Args = KnnArgs<float>;

constexpr int kSearchThreads = 128;

// Blocks on a multiprocessor that leave each thread enough registers.
template <int K>
constexpr int kSearchBlocks = K <= 8 ? 8 : (K <= 16 ? 6 : (K <= 32 ? 4 : 2));

// Rows are scattered but whole: 16-byte stores fill their sectors at once.
template <int K>
__device__ __forceinline__ void store_wide(const core::NearestK<K>& best, float* dist2, std::int64_t* index) {
#pragma unroll
  for (int j = 0; j < K; j += 4) {
    float d[4];
    long long i[4];
#pragma unroll
    for (int s = 0; s < 4; ++s) {
      const std::int32_t found = core::key_index<float>(best[j + s]);
      d[s] = found == core::kNoIndex ? core::kInfinity<float> : core::key_dist2<float>(best[j + s]);
      i[s] = found == core::kNoIndex ? -1 : found;
    }
    *reinterpret_cast<float4*>(dist2 + j) = make_float4(d[0], d[1], d[2], d[3]);
    *reinterpret_cast<longlong2*>(index + j) = make_longlong2(i[0], i[1]);
    *reinterpret_cast<longlong2*>(index + j + 2) = make_longlong2(i[2], i[3]);
  }
}

template <int K>
__device__ __forceinline__ void store(const core::NearestK<K>& best, int k, float* dist2, std::int64_t* index) {
#pragma unroll
  for (int slot = 0; slot < K; ++slot) {
    const int j = slot - (K - k);
    if (j < 0) continue;
    const std::int32_t found = core::key_index<float>(best[slot]);
    dist2[j] = found == core::kNoIndex ? core::kInfinity<float> : core::key_dist2<float>(best[slot]);
    index[j] = found == core::kNoIndex ? -1 : found;
  }
}

// Queries `base` to `base + n`, in `order`.
template <int K>
__global__ void __launch_bounds__(kSearchThreads, kSearchBlocks<K>)
    search(const __grid_constant__ Args a, const __grid_constant__ KnnLevels levels, core::Key<float> limit,
           const std::uint32_t* order, std::int64_t base, std::int64_t n) {
  const bool wide = K % 4 == 0 && a.k == K && is_aligned16(a.dist2) && is_aligned16(a.index);
  grid_stride(n, [&](std::int64_t i) {
    const std::int64_t row = base + order[i];
    const float q[3] = {a.queries[3 * row], a.queries[3 * row + 1], a.queries[3 * row + 2]};
    core::NearestK<K> best;
    find_nearest(a.tree, levels, q, a.k, limit, best);
    if constexpr (K % 4 == 0)
      if (wide) return store_wide(best, a.dist2 + row * K, a.index + row * K);
    store(best, a.k, a.dist2 + row * a.k, a.index + row * a.k);
  });
}

}  // namespace

std::int64_t knn_forward_scratch(std::int64_t n_queries, int device) {
  const DeviceGuard guard(device);
  Scratch scratch(nullptr);
  (void)QueryOrder(scratch, std::min(n_queries, kQueryChunk));
  return scratch.used();
}

void knn_forward(const Args& args, void* scratch, int device, void* stream) {
  if (args.m == 0) return;
  const DeviceGuard guard(device);
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  const KnnLevels levels = knn_levels(args.tree.n);
  const core::Key<float> limit = core::limit_key<float>(args.radius * args.radius);
  Scratch memory(scratch);
  QueryOrder queries(memory, std::min(args.m, kQueryChunk));
  for (std::int64_t base = 0; base < args.m; base += kQueryChunk) {
    const std::int64_t n = std::min(kQueryChunk, args.m - base);
    const std::uint32_t* order = queries.sort(args.queries + 3 * base, n, cuda_stream);
    with_capacity(args.k, [&](auto capacity) {
      search<decltype(capacity)::value><<<grid_size(ceil_div(n, kSearchThreads)), kSearchThreads, 0, cuda_stream>>>(
          args, levels, limit, order, base, n);
    });
    check_launch("knn_forward");
  }
}

}  // namespace uner3d::cuda
