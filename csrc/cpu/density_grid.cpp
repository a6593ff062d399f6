#include "../ops/density_grid.h"

#include <memory>

#include "grid_cells.h"
#include "parallel.h"

namespace uner3d::cpu {
namespace {

using std::int64_t;
constexpr int64_t kPointsPerChunk = 4096;
constexpr int64_t kCellsAhead = 16;  // points whose cells are asked for while earlier ones are dealt with
constexpr std::int32_t kOutside = -1;

template <bool kContracted, class T>
void find_cells(const GridCellsArgs<T>& a, int64_t begin, int64_t end) {
  const GridBox<T> box = a.box;
  const T* points = a.points;
  int64_t* cells = a.cells;
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) {
    T x = points[3 * i], y = points[3 * i + 1], z = points[3 * i + 2];
    cells[i] = cell_of<kContracted>(box, x, y, z);
  }
}

// As find_cells, but kOutside for points outside the box.
template <bool kContracted, class T>
void find_inner_cells(const GridUpdateArgs<T>& a, int64_t begin, int64_t end, std::int32_t* cells) {
  const GridBox<T> box = a.box;
  const T* points = a.points;
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) {
    T x = points[3 * i], y = points[3 * i + 1], z = points[3 * i + 2];
    const std::int32_t cell = cell_of<kContracted>(box, x, y, z);
    const bool inside =
        (std::fabs(x) <= box.extent[0]) & (std::fabs(y) <= box.extent[1]) & (std::fabs(z) <= box.extent[2]);
    cells[i] = inside ? cell : kOutside;
  }
}

// Takes the samples in, on one thread: two that shared the cells out between them took longer than one. The largest of
// some densities does not depend on their order.
template <class T>
void take_in(const GridUpdateArgs<T>& a, const std::int32_t* cells) {
  const T unseen = T(-1);
  const auto is_ahead = [&](int64_t i) { return i + kCellsAhead < a.n_points && cells[i + kCellsAhead] != kOutside; };
  for (int64_t i = 0; i < a.n_points; ++i) {
    if (is_ahead(i)) __builtin_prefetch(a.seen + cells[i + kCellsAhead], 1);
    const std::int32_t cell = cells[i];
    if (cell != kOutside) a.seen[cell] = core::larger_density(a.seen[cell], a.sigma[i]);
  }
  for (int64_t i = 0; i < a.n_points; ++i) {
    if (is_ahead(i)) {
      const std::int32_t cell = cells[i + kCellsAhead];
      __builtin_prefetch(a.seen + cell, 1), __builtin_prefetch(a.values + cell, 1);
      if (a.allowed) __builtin_prefetch(a.allowed + cell);
    }
    const std::int32_t cell = cells[i];
    if (cell == kOutside || a.seen[cell] == unseen) continue;  // unseen once an earlier sample has brought it home
    const T value = core::followed_density(a.values[cell], a.seen[cell], a.rate);
    a.values[cell] = a.allowed && !a.allowed[cell] ? T(0) : value;
    a.seen[cell] = unseen;
  }
}

}  // namespace

template <class T>
void grid_cells(const GridCellsArgs<T>& a, int n_threads) {
  parallel_for(a.n_points, kPointsPerChunk, n_threads, [&](int64_t begin, int64_t end) {
    if (a.box.contracted)
      find_cells<true>(a, begin, end);
    else
      find_cells<false>(a, begin, end);
  });
}

template <class T>
void grid_update(const GridUpdateArgs<T>& a, int n_threads) {
  if (a.n_points == 0) return;
  const std::unique_ptr<std::int32_t[]> cells(new std::int32_t[static_cast<std::size_t>(a.n_points)]);
  parallel_for(a.n_points, kPointsPerChunk, n_threads, [&](int64_t begin, int64_t end) {
    if (a.box.contracted)
      find_inner_cells<true>(a, begin, end, cells.get());
    else
      find_inner_cells<false>(a, begin, end, cells.get());
  });
  take_in(a, cells.get());
}

template void grid_cells<float>(const GridCellsArgs<float>&, int);
template void grid_cells<double>(const GridCellsArgs<double>&, int);
template void grid_update<float>(const GridUpdateArgs<float>&, int);
template void grid_update<double>(const GridUpdateArgs<double>&, int);

}  // namespace uner3d::cpu
