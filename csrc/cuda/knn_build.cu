// Builds the implicit tree: sorts of everything down to segments that a block can hold, then blocks halve theirs down
// to leaves, then boxes level by level.
#include "../core/knn_build.h"
#include "../ops/knn.h"
#include "launch.cuh"
#include "spatial_order.cuh"

namespace uner3d::cuda {
namespace {

using Args = KnnBuildArgs<float>;

constexpr int kBlockThreads = 1024;
constexpr int kPerThread = core::kBlockPoints / kBlockThreads;
constexpr int kMostSegments = core::kBlockPoints / (2 * kWidth);

struct BuildScratch {
  BuildScratch(Scratch& scratch, std::int64_t n)
      : bounds(scratch.take<std::uint32_t>((n / (2 * core::kBlockPoints) + 1) * core::kBounds)),
        buffers(take_sort_buffers<std::uint64_t>(scratch, n)) {}

  std::uint32_t* bounds;  // of the segments of a sort, none of which is shorter than two blocks
  SortBuffers<std::uint64_t> buffers;
};

__global__ void __launch_bounds__(kThreads) count_up(std::int64_t n, std::uint32_t* values) {
  grid_stride(n, [&](std::int64_t i) { values[i] = static_cast<std::uint32_t>(i); });
}

// Segment above coordinate along its widest axis.
__global__ void __launch_bounds__(kThreads)
    make_keys(const float* points, const std::uint32_t* order, std::int64_t n, int segment_bits,
              const std::uint32_t* bounds, std::uint64_t* keys) {
  grid_stride(n, [&](std::int64_t i) {
    const std::int64_t segment = i >> segment_bits, row = order[i];
    const int axis = core::widest_axis(bounds + segment * core::kBounds);
    keys[i] = (static_cast<std::uint64_t>(segment) << 32) | core::axis_key(points + 3 * row, axis);
  });
}

__global__ void __launch_bounds__(kThreads) fill_slots(const Args a, const std::uint32_t* order, std::int64_t n_slots) {
  grid_stride(n_slots, [&](std::int64_t i) {
    core::Slot slot = core::empty_slot();
    if (i < a.n) {
      const std::int64_t row = order[i];
      slot = core::make_slot(a.points + 3 * row, static_cast<std::int32_t>(row));
    }
    core::store_slot(slot, a.leaves, a.order, i);
  });
}

// Keys of one block of slots along the widest axis of each segment of `size`.
__device__ void rekey(const Args& a, std::int64_t base, int n_slots, int size, std::uint64_t* keys,
                      std::uint32_t* bounds) {
  for (int i = threadIdx.x; i < core::kBlockPoints / size * core::kBounds; i += kBlockThreads) bounds[i] = 0;
  __syncthreads();
  core::Slot slots[kPerThread];
#pragma unroll
  for (int r = 0; r < kPerThread; ++r) {
    const int i = threadIdx.x + r * kBlockThreads, from = core::key_slot(keys[i]);
    slots[r] = from < n_slots ? core::load_slot(a.leaves, a.order, base + from) : core::empty_slot();
    std::uint32_t own[core::kBounds];
    core::point_bounds(slots[r].x, own);
#pragma unroll
    for (int b = 0; b < core::kBounds; ++b) {
      own[b] = warp_max(own[b]);  // a warp lies in one segment
      if (threadIdx.x % kWarp == 0) atomicMax(bounds + i / size * core::kBounds + b, own[b]);
    }
  }
  __syncthreads();
#pragma unroll
  for (int r = 0; r < kPerThread; ++r) {
    const int i = threadIdx.x + r * kBlockThreads;
    const int axis = core::widest_axis(bounds + i / size * core::kBounds);
    keys[i] = core::slot_key(core::axis_key(slots[r].x, axis), core::key_slot(keys[i]));
  }
  __syncthreads();
}

// Sorts every segment of `size` keys. A warp's 32 comparisons at strides up to 32 touch the same 64 keys, stride after
// stride, so that the block only waits between larger ones.
__device__ void sort_segments(std::uint64_t* keys, int size) {
  for (int run = 2; run <= size; run *= 2)
    for (int stride = run / 2; stride > 0; stride /= 2) {
#pragma unroll
      for (int r = 0; r < kPerThread / 2; ++r) {
        const int i = threadIdx.x + r * kBlockThreads;
        core::compare_exchange(keys, core::bitonic_comparison(i, stride, run, size), stride);
      }
      const int next = stride > 1 ? stride / 2 : run;
      if (stride > kWarp || next > kWarp)
        __syncthreads();
      else
        __syncwarp();
    }
  __syncthreads();
}

// Sorts the slots of a block into leaves; there are fewer blocks than a grid holds.
__global__ void __launch_bounds__(kBlockThreads) sort_blocks(const Args a, std::int64_t n_slots) {
  __shared__ std::uint64_t keys[core::kBlockPoints];
  __shared__ std::uint32_t bounds[kMostSegments * core::kBounds];
  const std::int64_t base = static_cast<std::int64_t>(blockIdx.x) * core::kBlockPoints;
  const int own_slots = static_cast<int>(min(static_cast<std::int64_t>(core::kBlockPoints), n_slots - base));
  for (int i = threadIdx.x; i < core::kBlockPoints; i += kBlockThreads) keys[i] = core::slot_key(0, i);
  __syncthreads();
  for (int size = core::kBlockPoints; size > kWidth; size /= 2) {
    rekey(a, base, own_slots, size, keys, bounds);
    sort_segments(keys, size);
  }
  core::Slot slots[kPerThread];
#pragma unroll
  for (int r = 0; r < kPerThread; ++r) {
    const int i = threadIdx.x + r * kBlockThreads;
    if (i < own_slots) slots[r] = core::load_slot(a.leaves, a.order, base + core::key_slot(keys[i]));
  }
  __syncthreads();  // all have read what is now overwritten
#pragma unroll
  for (int r = 0; r < kPerThread; ++r) {
    const int i = threadIdx.x + r * kBlockThreads;
    if (i < own_slots) core::store_slot(slots[r], a.leaves, a.order, base + i);
  }
}

// Children of the groups from `first` on: leaves where `below` is negative, else the groups from `below` on.
__global__ void __launch_bounds__(kThreads)
    fill_level(const Args a, std::int64_t first, std::int64_t below, std::int64_t n_children, std::int64_t n_slots) {
  grid_stride(n_slots, [&](std::int64_t i) {
    core::Node node = core::empty_node();
    if (i < n_children && below < 0)
      node = core::leaf_node(a.leaves + i * (3 * kWidth), a.order + i * kWidth);
    else if (i < n_children)
      node = core::group_node(a.boxes + (below + i) * (6 * kWidth), a.lowest + (below + i) * kWidth);
    core::store_node(node, a.boxes + first * (6 * kWidth), a.lowest + first * kWidth, i);
  });
}

int bit_width(std::int64_t x) {
  int bits = 0;
  for (; x > 0; x >>= 1) ++bits;
  return bits;
}

// Rows in kd order down to segments of kBlockPoints.
const std::uint32_t* sort_points(const Args& a, BuildScratch& s, cudaStream_t stream) {
  count_up<<<grid_size(ceil_div(a.n, kThreads)), kThreads, 0, stream>>>(a.n, s.buffers.values);
  check_launch("count_up");
  for (int left = core::halvings(a.n); left > 0; left -= core::next_halvings(left)) {
    const int segment_bits = core::kBlockBits + left;
    segment_bounds(a.points, s.buffers.values, a.n, segment_bits, s.bounds, stream);
    make_keys<<<grid_size(ceil_div(a.n, kThreads)), kThreads, 0, stream>>>(a.points, s.buffers.values, a.n,
                                                                           segment_bits, s.bounds, s.buffers.keys);
    check_launch("make_keys");
    sort_pairs(s.buffers, a.n, 32 + bit_width((a.n - 1) >> segment_bits), stream);
  }
  return s.buffers.values;
}

void fill_boxes(const Args& a, cudaStream_t stream) {
  const KnnLevels levels = knn_levels(a.n);
  std::int64_t n_children = ceil_div(a.n, kWidth);
  for (int l = 0; l < levels.n_levels; ++l) {
    const std::int64_t n_groups = levels.first[l + 1] - levels.first[l], n_slots = n_groups * kWidth;
    fill_level<<<grid_size(ceil_div(n_slots, kThreads)), kThreads, 0, stream>>>(
        a, levels.first[l], l == 0 ? -1 : levels.first[l - 1], n_children, n_slots);
    check_launch("fill_level");
    n_children = n_groups;
  }
}

}  // namespace

std::int64_t knn_build_scratch(std::int64_t n, int device) {
  const DeviceGuard guard(device);
  Scratch scratch(nullptr);
  (void)BuildScratch(scratch, n);
  return scratch.used();
}

void knn_build(const Args& args, void* scratch, int device, void* stream) {
  if (args.n == 0) return;
  const DeviceGuard guard(device);
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  Scratch memory(scratch);
  BuildScratch arrays(memory, args.n);
  const std::uint32_t* order = sort_points(args, arrays, cuda_stream);
  const std::int64_t n_slots = ceil_div(args.n, kWidth) * kWidth;
  fill_slots<<<grid_size(ceil_div(n_slots, kThreads)), kThreads, 0, cuda_stream>>>(args, order, n_slots);
  check_launch("fill_slots");
  const auto n_blocks = static_cast<unsigned>(ceil_div(n_slots, core::kBlockPoints));
  sort_blocks<<<n_blocks, kBlockThreads, 0, cuda_stream>>>(args, n_slots);
  check_launch("sort_blocks");
  fill_boxes(args, cuda_stream);
}

}  // namespace uner3d::cuda
