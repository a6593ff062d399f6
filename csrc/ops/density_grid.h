// Contract of grid_cells and grid_update that the CPU kernels keep; elsewhere they are made of torch's operations.
#pragma once

#include <cstdint>

namespace uner3d {

// Cell (i, j, k) of n^3 < 2^31 over the box [-extent, extent] has index (i n + j) n + k.
template <class T>
struct GridBox {
  T extent[3];
  std::int64_t n;
  bool contracted;  // points are contracted first (core/density_grid.h)
};

template <class T>
struct GridCellsArgs {
  GridBox<T> box;
  const T* points;      // (N, 3)
  std::int64_t* cells;  // (N,); points outside the box take the nearest cell
  std::int64_t n_points;
};

template <class T>
struct GridUpdateArgs {
  GridBox<T> box;
  const T* points;      // (N, 3); those outside the box are passed over
  const T* sigma;       // (N,)
  const bool* allowed;  // (n^3,) or null; the others hold zero
  T* values;            // (n^3,), changed in place
  T* seen;              // (n^3,), -1 throughout before and after
  std::int64_t n_points;
  T rate;
};

namespace cpu {
template <class T>
void grid_cells(const GridCellsArgs<T>& args, int n_threads);
template <class T>
void grid_update(const GridUpdateArgs<T>& args, int n_threads);
}  // namespace cpu

}  // namespace uner3d
