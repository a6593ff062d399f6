// Gradients of maps without atomics: the pairs of a cell (the pixel of their first tap) are added up by one group of
// lanes, in their order. A cell reaches into the next column and row, so cells that share no pixel, every other one of
// every other row, are done together; four launches do all. Nothing in it depends on what runs first.
#pragma once

#include "view_taps.cuh"

namespace uner3d::cuda {

constexpr int kParities = 4;

// The cells of one parity: rows 2 i + (parity >> 1), columns 2 j + (parity & 1).
__host__ __device__ __forceinline__ std::int64_t parity_rows(std::int64_t height, int parity) {
  return (height + 1 - (parity >> 1)) / 2;
}
__host__ __device__ __forceinline__ std::int64_t parity_columns(std::int64_t width, int parity) {
  return (width + 1 - (parity & 1)) / 2;
}
__host__ __device__ __forceinline__ std::int64_t n_cells(const Views<float>& views, int parity) {
  return views.n_views * parity_rows(views.height, parity) * parity_columns(views.width, parity);
}

struct Cell {
  std::int64_t view, row, column, key;
};

__device__ __forceinline__ Cell cell_at(const Views<float>& views, int parity, std::int64_t i) {
  const std::int64_t n_rows = parity_rows(views.height, parity), n_columns = parity_columns(views.width, parity);
  Cell cell;
  cell.column = 2 * (i % n_columns) + (parity & 1);
  cell.row = 2 * (i / n_columns % n_rows) + (parity >> 1);
  cell.view = i / n_columns / n_rows;
  cell.key = (cell.view * views.height + cell.row) * views.width + cell.column;
  return cell;
}

// First pair with a key from `key` on.
__device__ __forceinline__ std::int64_t first_pair(const ViewPairs& pairs, std::int64_t key) {
  std::int64_t low = 0, high = pairs.n_pairs;
  while (low < high) {
    const std::int64_t middle = low + (high - low) / 2;
    if (__ldg(pairs.keys + middle) < key)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

// Adds to grad_maps, for one round of channels, what the cell's pairs from number `pair` on contribute:
// gradient(point, tap, footprint) is that of the sample.
template <class L, class Gradient>
__device__ __forceinline__ void add_cell(const Views<float>& views, const ViewPairs& pairs, std::int64_t pair,
                                         const Cell& cell, const Camera& camera, const float* points, const L& lane,
                                         std::int64_t n_channels, float* grad_maps, const Gradient& gradient) {
  typename L::Values sums[4];
  for (; pair < pairs.n_pairs && __ldg(pairs.keys + pair) == cell.key; ++pair) {
    const std::int64_t point = pairs.first_point + __ldg(pairs.order + pair) / views.n_views;
    const Tap tap = find_tap(camera, points + 3 * point, views);
    const Footprint at = footprint(views, n_channels, cell.view, tap.pixel, tap.ax, tap.ay);
    const auto grad = gradient(point, tap, at);
    sums[0] += at.w.w00 * grad;
    sums[1] += at.w.w01 * grad;
    sums[2] += at.w.w10 * grad;
    sums[3] += at.w.w11 * grad;
  }
  float* top = grad_maps + cell.key * n_channels;
  float* bottom = top + views.width * n_channels;
  const bool has_right = cell.column + 1 < views.width, has_below = cell.row + 1 < views.height;
  lane.add_alone(top, sums[0]);
  if (has_right) lane.add_alone(top + n_channels, sums[1]);
  if (has_below) lane.add_alone(bottom, sums[2]);
  if (has_below && has_right) lane.add_alone(bottom + n_channels, sums[3]);
}

// Calls visit(cell, first pair) for the cells of a parity that have pairs; no warp-wide operation may be in it.
template <class Visit>
__device__ __forceinline__ void for_cells(const Views<float>& views, const ViewPairs& pairs, int parity,
                                          const Group& group, const Visit& visit) {
  const std::int64_t n = n_cells(views, parity);
  for_groups(group, n, [&](std::int64_t i) {
    if (i >= n) return;
    const Cell cell = cell_at(views, parity, i);
    const std::int64_t pair = first_pair(pairs, cell.key);
    if (pair < pairs.n_pairs && __ldg(pairs.keys + pair) == cell.key) visit(cell, pair);
  });
}

// Calls enqueue_one(parity, blocks) for the four parities in turn.
template <class F>
void for_parities(const Views<float>& views, int log_width, const F& enqueue_one) {
  for (int parity = 0; parity < kParities; ++parity)
    if (n_cells(views, parity) > 0) enqueue_one(parity, group_grid(n_cells(views, parity), log_width, 1 << 16));
}

}  // namespace uner3d::cuda
