#include "../ops/density_grid.h"

#include <memory>

#include "grid_cells.h"
#include "parallel.h"

namespace uner3d::cpu {
namespace {

using std::int64_t;
constexpr int64_t kPointsPerChunk = 4096;
constexpr int64_t kPointsPerPart = 2048;  // fewer do not pay for another thread's pass over all cells
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

// Which of n_parts the cells of a slab two cells thick across the first axis, or nearly so, belong to. Slabs next to
// each other go to different parts, since samples crowd at surfaces; a ray stays in one for a while, so that branches
// can be foretold.
struct Parts {
  std::uint64_t n;
  int shift = 0;

  Parts(std::int64_t n_parts, std::int64_t side) : n(static_cast<std::uint64_t>(n_parts)) {
    while ((int64_t{1} << shift) < 2 * side * side) ++shift;
  }
  std::uint32_t of(std::int32_t cell) const {
    const std::uint32_t spread = (static_cast<std::uint32_t>(cell) >> shift) * 2654435761u;
    return static_cast<std::uint32_t>((spread * n) >> 32);
  }
};

// Takes the samples of one part of the cells in. Cells are owned by one part, and the largest of some densities does
// not depend on their order: any number of parts gives the same bits.
template <class T>
void update_part(const GridUpdateArgs<T>& a, const std::int32_t* cells, const Parts& parts, std::uint32_t part) {
  const T unseen = T(-1);
  const auto is_mine = [&](std::int32_t cell) { return cell != kOutside && parts.of(cell) == part; };
  for (int64_t i = 0; i < a.n_points; ++i)
    if (is_mine(cells[i])) a.seen[cells[i]] = core::larger_density(a.seen[cells[i]], a.sigma[i]);
  for (int64_t i = 0; i < a.n_points; ++i) {
    const std::int32_t cell = cells[i];
    if (!is_mine(cell) || a.seen[cell] == unseen) continue;  // unseen once an earlier sample has brought it home
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
  const int64_t n_parts = std::max<int64_t>(1, std::min<int64_t>(n_threads, a.n_points / kPointsPerPart));
  const Parts parts(n_parts, a.box.n);
  parallel_for(n_parts, 1, n_threads,
               [&](int64_t begin, int64_t) { update_part(a, cells.get(), parts, static_cast<std::uint32_t>(begin)); });
}

template void grid_cells<float>(const GridCellsArgs<float>&, int);
template void grid_cells<double>(const GridCellsArgs<double>&, int);
template void grid_update<float>(const GridUpdateArgs<float>&, int);
template void grid_update<double>(const GridUpdateArgs<double>&, int);

}  // namespace uner3d::cpu
