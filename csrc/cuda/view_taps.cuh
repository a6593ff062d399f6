// What the kernels over views share: cameras near at hand, where points fall in maps, pairs of points and views.
#pragma once

#include <limits>
#include <stdexcept>

#include "../core/camera.h"
#include "../ops/views.h"
#include "channels.cuh"
#include "enqueue.cuh"
#include "groups.cuh"
#include "two_runs.cuh"

namespace uner3d::cuda {

using Camera = core::Camera<float>;
static_assert(sizeof(Camera) == kCameraFloats * sizeof(float), "cameras are copied as floats");

constexpr int kStagedViews = 256;  // 15 KiB of shared memory; of more views the cameras are read through the cache

// Fills launch.cameras from the matrices; kernels on the same stream find them there.
void make_cameras(const Views<float>& views, const ViewLaunch& launch);

inline std::size_t staged_bytes(const Views<float>& views) {
  return views.n_views <= kStagedViews ? static_cast<std::size_t>(views.n_views) * sizeof(Camera) : 0;
}

// Counts that the kernels hold in 32 bits, with room for a warp's strides. Pixels of a view are checked in Python.
inline void check_counts(std::int64_t n_views, std::int64_t n_channels) {
  if (n_views > (1 << 30)) throw std::invalid_argument("more than 2^30 views");
  if (n_channels > (1 << 24)) throw std::invalid_argument("more than 2^24 channels");
}

// Copies the cameras to the block's shared memory where they fit. To be called by all threads of the block.
__device__ __forceinline__ const Camera* stage_cameras(const float* cameras, std::int64_t n_views) {
  extern __shared__ float4 staged_cameras[];
  if (n_views > kStagedViews) return reinterpret_cast<const Camera*>(cameras);
  block_copy(reinterpret_cast<float*>(staged_cameras), cameras, static_cast<int>(n_views) * kCameraFloats);
  __syncthreads();
  return reinterpret_cast<const Camera*>(staged_cameras);
}

// A number from 0 and a flag in its sign, -0 included: one register to hand around instead of two.
__device__ __forceinline__ float with_flag(float value, bool flag) { return flag ? -value : value; }
__device__ __forceinline__ bool flag_of(float value) { return __float_as_int(value) < 0; }

// Where a point falls in a map.
struct Tap {
  std::int32_t pixel;    // row * width + column of the first of the four
  float ax, ay;          // fractions; flagged where the next column (row) is another pixel
  float u, v, z, inv_z;  // of the projection
  bool seen;
};

__device__ __forceinline__ Tap find_tap(const Camera& camera, const float* xyz, const Views<float>& views) {
  const auto n_columns = static_cast<std::int32_t>(views.width), n_rows = static_cast<std::int32_t>(views.height);
  const auto at = core::project(camera, __ldg(xyz), __ldg(xyz + 1), __ldg(xyz + 2), static_cast<float>(n_columns),
                                static_cast<float>(n_rows));
  const auto column = core::axis(at.seen ? at.u : 0.0f, n_columns), row = core::axis(at.seen ? at.v : 0.0f, n_rows);
  return {row.index * n_columns + column.index,
          with_flag(column.fraction, column.step != 0),
          with_flag(row.fraction, row.step != 0),
          at.u,
          at.v,
          at.z,
          at.inv_z,
          at.seen};
}

// The four pixels of a tap in maps of n_channels values a pixel.
struct Footprint {
  std::int64_t offset, step_column, step_row;
  float ax, ay;
  core::BilinearWeights<float> w;
};

__device__ __forceinline__ Footprint footprint(const Views<float>& views, std::int64_t n_channels, std::int64_t view,
                                               std::int32_t pixel, float ax, float ay) {
  Footprint at;
  at.offset = (view * (views.height * views.width) + pixel) * n_channels;
  at.step_column = flag_of(ax) ? n_channels : 0;
  at.step_row = flag_of(ay) ? views.width * n_channels : 0;
  at.ax = fabsf(ax), at.ay = fabsf(ay);
  at.w = core::bilinear_weights(at.ax, at.ay);
  return at;
}

template <class V>
struct Corners {
  V p00, p01, p10, p11;
};

template <class L, class M>
__device__ __forceinline__ Corners<typename L::Values> load_corners(const L& lane, const M* maps, const Footprint& at) {
  const M* top = maps + at.offset;
  const M* bottom = top + at.step_row;
  return {lane.load(top), lane.load(top + at.step_column), lane.load(bottom), lane.load(bottom + at.step_column)};
}

template <class V>
__device__ __forceinline__ V sample(const Corners<V>& c, const Footprint& at) {
  return core::bilinear(c.p00, c.p01, c.p10, c.p11, at.w);
}

// Adds a sample's gradient to the four pixels; those that edges repeat have weight 0 and are left alone.
template <class L>
__device__ __forceinline__ void scatter(const L& lane, float* grad_maps, const Footprint& at,
                                        const typename L::Values& grad) {
  float* top = grad_maps + at.offset;
  float* bottom = top + at.step_row;
  if (at.w.w00 != 0) lane.add(top, at.w.w00 * grad);
  if (at.w.w01 != 0) lane.add(top + at.step_column, at.w.w01 * grad);
  if (at.w.w10 != 0) lane.add(bottom, at.w.w10 * grad);
  if (at.w.w11 != 0) lane.add(bottom + at.step_column, at.w.w11 * grad);
}

// (point, view) of a pair, views running fastest. `first` is the warp's first pair, so that only one division is wide.
struct Pair {
  std::int64_t point;
  int view;
};

__device__ __forceinline__ Pair pair_at(std::int64_t first, int lane, int n_views) {
  const std::int64_t point = first / n_views;
  const unsigned place = static_cast<unsigned>(first - point * n_views) + static_cast<unsigned>(lane);
  const unsigned further = place / static_cast<unsigned>(n_views);
  return {point + further, static_cast<int>(place - further * static_cast<unsigned>(n_views))};
}

// Whether rows of n floats from p on can be moved four at a time; null has no say.
inline bool fits_vector(const void* p, std::int64_t n_channels, std::size_t bytes = 16, int width = 4) {
  return n_channels % width == 0 && reinterpret_cast<std::uintptr_t>(p) % bytes == 0;
}

// Calls f(map type, layout) with a null pointer of each: the elements of the maps, and the widest accesses to them that
// number of channels and alignment allow, at most kMost channels a lane. `rows` says whether the float rows allow four.
template <class L, class M>
struct MapLayout {
  using Layout = L;
  using Element = M;
};

template <int kMost, class M, class F>
void with_layout(const void* maps, std::int64_t n_channels, bool rows, const F& f) {
  constexpr int kWide = 16 / sizeof(M);
  if constexpr (kWide > 4 && kMost >= kWide)
    if (rows && fits_vector(maps, n_channels, 16, kWide)) return f(MapLayout<Layout<kWide, true>, M>{});
  if constexpr (kWide == 4 && kMost >= TwoRuns::kWidth)  // of fewer channels the runs would be short
    if (rows && n_channels >= 32 && fits_vector(maps, n_channels, 16, TwoRuns::kWidth))
      return f(MapLayout<TwoRuns, M>{});
  if (rows && fits_vector(maps, n_channels, 4 * sizeof(M), 4)) return f(MapLayout<Layout<4, true>, M>{});
  f(MapLayout<Layout<4, false>, M>{});
}

template <int kMost, class F>
void with_map_layout(MapType type, const void* maps, std::int64_t n_channels, bool rows, const F& f) {
  switch (type) {
    case MapType::kFloat32:
      return with_layout<kMost, float>(maps, n_channels, rows, f);
    case MapType::kFloat16:
      return with_layout<kMost, Half>(maps, n_channels, rows, f);
    case MapType::kBfloat16:
      return with_layout<kMost, Bfloat16>(maps, n_channels, rows, f);
  }
  throw std::invalid_argument("no such type of maps");
}

}  // namespace uner3d::cuda
