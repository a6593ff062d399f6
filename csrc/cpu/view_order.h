// An order of points in which neighbours in space, hence in every map, follow each other: what was read for one point
// is still in the cache for the next.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "page_pool.h"
#include "parallel.h"

namespace uner3d::cpu {

constexpr std::int64_t kOrderBlock = std::int64_t(1) << 22;  // points per order: bounds the memory of large calls
constexpr std::int64_t kSortedRun = std::int64_t(1) << 20;   // points sorted together: bounds the span of the outputs
constexpr std::int64_t kSortFrom = 4096;  // points; below, sorting costs more than the cache misses it saves
constexpr std::int64_t kLeastRun = 8192;
constexpr int kCellBits = 7;    // per axis
constexpr int kDigitBits = 11;  // two radix passes over 3 kCellBits

// A grid of 2^kCellBits cells a side that covers three standard deviations about the mean, so that a few far points do
// not put all others into one cell. Estimated from at most 4096 points; non-finite ones are left out.
struct MortonGrid {
  double low[3], scale[3];

  template <class T>
  MortonGrid(const T* points, std::int64_t n) {
    double sum[3] = {}, sum2[3] = {}, count = 0;
    const std::int64_t stride = std::max<std::int64_t>(1, n / 4096);
    for (std::int64_t i = 0; i < n; i += stride) {
      const double x[3] = {points[3 * i], points[3 * i + 1], points[3 * i + 2]};
      if (!std::isfinite(x[0] + x[1] + x[2])) continue;
      for (int k = 0; k < 3; ++k) sum[k] += x[k], sum2[k] += x[k] * x[k];
      ++count;
    }
    double widest = 0;
    for (int k = 0; k < 3; ++k) {
      const double mean = count > 0 ? sum[k] / count : 0;
      const double deviation = count > 0 ? std::sqrt(std::max(0.0, sum2[k] / count - mean * mean)) : 0;
      low[k] = mean - 3 * deviation;
      widest = std::max(widest, 6 * deviation);
    }
    for (double& s : scale) s = widest > 0 ? (1 << kCellBits) / widest : 0;  // cubes: a flat set needs no thin cells
  }

  template <class T>
  std::uint32_t key(const T* x) const {
    std::uint32_t key = 0;
    for (int k = 0; k < 3; ++k) {
      const double cell = (x[k] - low[k]) * scale[k];
      // NaN fails both comparisons and lands in cell 0.
      const std::uint32_t i =
          cell > 0 ? (cell < (1 << kCellBits) ? static_cast<std::uint32_t>(cell) : (1u << kCellBits) - 1) : 0u;
      key |= spread(i) << k;
    }
    return key;
  }

 private:
  static std::uint32_t spread(std::uint32_t i) {  // bits to every third place
    i = (i | (i << 16)) & 0x030000FFu;
    i = (i | (i << 8)) & 0x0300F00Fu;
    i = (i | (i << 4)) & 0x030C30C3u;
    return (i | (i << 2)) & 0x09249249u;
  }
};

// Stable radix sort of items whose high half is the key.
inline void sort_by_key(std::uint64_t* items, std::uint64_t* scratch, std::int64_t n) {
  constexpr int kBins = 1 << kDigitBits;
  std::vector<std::uint32_t> starts(2 * kBins, 0);
  for (std::int64_t i = 0; i < n; ++i) {
    ++starts[(items[i] >> 32) & (kBins - 1)];
    ++starts[kBins + ((items[i] >> (32 + kDigitBits)) & (kBins - 1))];
  }
  for (int pass = 0; pass < 2; ++pass) {
    std::uint32_t* start = starts.data() + pass * kBins;
    std::uint32_t total = 0;
    for (int bin = 0; bin < kBins; ++bin) {
      const std::uint32_t count = start[bin];
      start[bin] = total;
      total += count;
    }
    const int shift = 32 + pass * kDigitBits;
    for (std::int64_t i = 0; i < n; ++i) scratch[start[(items[i] >> shift) & (kBins - 1)]++] = items[i];
    std::swap(items, scratch);
  }
}

// Writes to `order` (n <= 2^32) the places of the points, run by run in Morton order. Runs, of at most `run` points but
// several even for few, have a size that the thread count does not change, so neither does the order.
template <class T>
void morton_order(const T* points, std::int64_t n, int n_threads, std::uint32_t* order, std::int64_t run = kSortedRun) {
  const MortonGrid grid(points, n);
  run = std::min(run, std::max(n / 4 + 1, kLeastRun));
  parallel_for(n, run, n_threads, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t count = end - begin;
    const Scratch<std::uint64_t> items(2 * count);
    for (std::int64_t i = 0; i < count; ++i)
      items[i] = std::uint64_t(grid.key(points + 3 * (begin + i))) << 32 | std::uint64_t(begin + i);
    sort_by_key(items.get(), items.get() + count, count);
    for (std::int64_t i = 0; i < count; ++i) order[begin + i] = static_cast<std::uint32_t>(items[i]);
  });
}

// Calls f(order, begin, end) for blocks of points; the order (null: as they come) covers one block.
template <class T, class F>
void for_ordered_blocks(const T* points, std::int64_t n, int n_threads, const F& f, std::int64_t run = kSortedRun) {
  const bool is_sorted = n >= kSortFrom;
  const Scratch<std::uint32_t> order(is_sorted ? std::min(n, kOrderBlock) : 0);
  for (std::int64_t begin = 0; begin < n; begin += kOrderBlock) {
    const std::int64_t end = std::min(n, begin + kOrderBlock);
    if (is_sorted) morton_order(points + 3 * begin, end - begin, n_threads, order.get(), run);
    f(is_sorted ? order.get() : nullptr, begin, end);
  }
}

}  // namespace uner3d::cpu
