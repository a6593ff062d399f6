// Contract of sample_voxels that the CPU kernels keep; elsewhere it is made of torch's operations.
#pragma once

#include <cstdint>

namespace uner3d {

// Value (i, j, k) of n^3 lies at (2 i / (n - 1) - 1) extent along x, and so on, at index (i n + j) n + k; n >= 2.
template <class T>
struct VoxelLattice {
  T extent[3];
  std::int64_t n;
  const T* points;  // (N, 3)
  std::int64_t n_points;
};

template <class T>
struct SampleVoxelsArgs {
  VoxelLattice<T> lattice;
  const T* values;  // (n^3,)
  T* out;           // (N,); 0 outside the box
};

template <class T>
struct SampleVoxelsGradArgs {
  VoxelLattice<T> lattice;
  const T* grad;   // (N,)
  T* grad_values;  // (n^3,)
};

namespace cpu {
template <class T>
void sample_voxels_forward(const SampleVoxelsArgs<T>& args, int n_threads);
template <class T>
void sample_voxels_backward(const SampleVoxelsGradArgs<T>& args, int n_threads);
}  // namespace cpu

}  // namespace uner3d
