// Two kernels each way. Small d: a block computes the rows of a tile of points in shared memory, a thread per
// coordinate, and moves them as one contiguous run (tiles.cuh). Large d: neighbouring threads hold neighbouring
// coordinates of a row, so that direct accesses are coalesced already.
#include "../core/positional_encoding.h"
#include "../ops/positional_encoding.h"
#include "check.cuh"
#include "launch.cuh"
#include "tiles.cuh"

namespace uner3d::cuda {
namespace {

using Args = PositionalEncodingArgs<float>;
using GradArgs = PositionalEncodingGradArgs<float>;

constexpr int kTileFloats = 5120;  // 20 KiB, 80 points at d = 3, 10 octaves; sm_90 has room for two in each of 5 blocks
constexpr int kMaxTileD = 32;      // at most 32 * 65 floats a row, so that a tile always holds a point
static_assert(kMaxTileD * (2 * kMaxOctaves + 1) <= kTileFloats, "a tile must hold at least one row");

template <class A>
__host__ __device__ std::int64_t head(const A& a) {
  return a.include_input ? a.d : 0;
}

template <class A>
__host__ __device__ std::int64_t width(const A& a) {
  return head(a) + 2 * a.d * a.n_octaves;
}

// Points of a tile: a multiple of 4, where there is room for 4, keeps every tile as aligned as the first.
template <class A>
__host__ __device__ int tile_points(const A& a) {
  const int points = kTileFloats / static_cast<int>(width(a) > a.d ? width(a) : a.d);
  return points >= 4 ? points & ~3 : points;
}

// Writes what coordinate k, of value x, contributes to its row.
__device__ __forceinline__ void encode(const Args& a, float x, float* row, std::int64_t k) {
  if (a.include_input) row[k] = x;
  float* out = row + head(a) + k;
  float turn = core::reduce_turn(x);
  for (int octave = 0; octave < a.n_octaves; octave += 2, out += 4 * a.d) {
    float s, c;
    core::sincospi_turn(turn, s, c);
    out[0] = a.weights[octave] * s;
    out[a.d] = a.weights[octave] * c;
    if (octave + 1 == a.n_octaves) break;
    core::double_angle(s, c, s, c);
    out[2 * a.d] = a.weights[octave + 1] * s;
    out[3 * a.d] = a.weights[octave + 1] * c;
    turn = core::skip_octave(turn);
  }
}

// The gradient of coordinate k, of value x, from the gradient of its row.
__device__ __forceinline__ float differentiate(const GradArgs& a, float x, const float* grad_row, std::int64_t k) {
  float sum = a.include_input ? grad_row[k] : 0.0f;
  const float* grad = grad_row + head(a) + k;
  float turn = core::reduce_turn(x);
  for (int octave = 0; octave < a.n_octaves; octave += 2, grad += 4 * a.d) {
    float s, c;
    core::sincospi_turn(turn, s, c);
    sum += core::encoding_gradient(core::octave_rate(a.weights[octave], octave), s, c, grad[0], grad[a.d]);
    if (octave + 1 == a.n_octaves) break;
    core::double_angle(s, c, s, c);
    sum += core::encoding_gradient(core::octave_rate(a.weights[octave + 1], octave + 1), s, c, grad[2 * a.d],
                                   grad[3 * a.d]);
    turn = core::skip_octave(turn);
  }
  return sum;
}

__global__ void forward_tiles(const __grid_constant__ Args a, std::int64_t n_tiles) {
  __shared__ float4 shared[kTileFloats / 4];
  float* tile = reinterpret_cast<float*>(shared);
  const int d = static_cast<int>(a.d), row = static_cast<int>(width(a)), max_points = tile_points(a);
  for (std::int64_t t = blockIdx.x; t < n_tiles; t += gridDim.x) {
    const std::int64_t first = t * max_points;
    const int n_points = static_cast<int>(min(static_cast<std::int64_t>(max_points), a.n - first));
    for (int j = threadIdx.x; j < n_points * d; j += blockDim.x)
      encode(a, a.x[first * d + j], tile + j / d * row, j % d);
    __syncthreads();
    copy_to_global(a.out + first * row, tile, n_points * row);
    __syncthreads();
  }
}

__global__ void backward_tiles(const __grid_constant__ GradArgs a, std::int64_t n_tiles) {
  using Reader = TileReader<kTileFloats>;
  __shared__ Reader::Memory memory;
  const int d = static_cast<int>(a.d), row = static_cast<int>(width(a)), max_points = tile_points(a);
  Reader reader(memory, {a.grad_out, a.n * row, n_tiles, max_points * row});
  for (std::int64_t t = blockIdx.x; t < n_tiles; t += gridDim.x) {
    const std::int64_t first = t * max_points;
    const int n_points = static_cast<int>(min(static_cast<std::int64_t>(max_points), a.n - first));
    const float* tile = reader.load(t);
    for (int j = threadIdx.x; j < n_points * d; j += blockDim.x)
      a.grad_x[first * d + j] = differentiate(a, a.x[first * d + j], tile + j / d * row, j % d);
    __syncthreads();
  }
}

__global__ void forward_rows(const __grid_constant__ Args a) {
  grid_stride(a.n * a.d, [&](std::int64_t j) { encode(a, a.x[j], a.out + j / a.d * width(a), j % a.d); });
}

__global__ void backward_rows(const __grid_constant__ GradArgs a) {
  grid_stride(a.n * a.d, [&](std::int64_t j) {
    a.grad_x[j] = differentiate(a, a.x[j], a.grad_out + j / a.d * width(a), j % a.d);
  });
}

}  // namespace

void positional_encoding_forward(const Args& args, int device, void* stream) {
  if (args.n == 0 || width(args) == 0) return;
  const DeviceGuard guard(device);
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  if (args.d <= kMaxTileD) {
    const std::int64_t n_tiles = ceil_div(args.n, tile_points(args));
    forward_tiles<<<grid_size(n_tiles), kThreads, 0, cuda_stream>>>(args, n_tiles);
  } else {
    forward_rows<<<grid_size(ceil_div(args.n * args.d, kThreads)), kThreads, 0, cuda_stream>>>(args);
  }
  check_launch("positional_encoding_forward");
}

void positional_encoding_backward(const GradArgs& args, int device, void* stream) {
  if (args.n == 0 || args.d == 0) return;
  const DeviceGuard guard(device);
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  if (args.d <= kMaxTileD) {
    const std::int64_t n_tiles = ceil_div(args.n, tile_points(args));
    const unsigned n_blocks = persistent_grid(backward_tiles, n_tiles, device);
    backward_tiles<<<n_blocks, kThreads, 0, cuda_stream>>>(args, n_tiles);
  } else {
    backward_rows<<<grid_size(ceil_div(args.n * args.d, kThreads)), kThreads, 0, cuda_stream>>>(args);
  }
  check_launch("positional_encoding_backward");
}

}  // namespace uner3d::cuda
