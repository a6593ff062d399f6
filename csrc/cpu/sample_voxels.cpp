#include "../ops/sample_voxels.h"

#include <algorithm>
#include <memory>

#include "../core/sample_voxels.h"
#include "parallel.h"

namespace uner3d::cpu {
namespace {

using core::Between;
using std::int64_t;
constexpr int64_t kPointsPerChunk = 2048;
constexpr int64_t kAhead = 8;          // points whose values are asked for while earlier ones are dealt with
constexpr std::int32_t kOutside = -2;  // neither that layer nor the one above it exists

template <class T>
void around(const VoxelLattice<T>& a, int64_t i, Between<T>* axes) {
  for (int axis = 0; axis < 3; ++axis) axes[axis] = core::layers_around(a.points[3 * i + axis], a.extent[axis], a.n);
}

template <class T>
int64_t corner(const Between<T>* axes, int64_t n) {
  return (axes[0].low * n + axes[1].low) * n + axes[2].low;
}

template <class T>
void read(const SampleVoxelsArgs<T>& a, int64_t begin, int64_t end) {
  const VoxelLattice<T>& lattice = a.lattice;
  const int64_t n = lattice.n;
  Between<T> ahead[3], axes[3];
  for (int64_t i = begin; i < end; ++i) {
    if (i + kAhead < end && core::in_box(lattice.points + 3 * (i + kAhead), lattice.extent)) {
      around(lattice, i + kAhead, ahead);
      const T* first = a.values + corner(ahead, n);
      __builtin_prefetch(first), __builtin_prefetch(first + n);
      __builtin_prefetch(first + n * n), __builtin_prefetch(first + n * n + n);
    }
    a.out[i] = T(0);
    if (!core::in_box(lattice.points + 3 * i, lattice.extent)) continue;
    around(lattice, i, axes);
    a.out[i] = core::read_between(a.values, n, axes);
  }
}

// Adds up what the points give to layers [begin, end) along x, in the order of the points: whoever owns a layer, its
// sums are the same.
template <class T>
void gather(const SampleVoxelsGradArgs<T>& a, const std::int32_t* lows, int64_t begin, int64_t end) {
  const VoxelLattice<T>& lattice = a.lattice;
  const int64_t n = lattice.n;
  std::fill(a.grad_values + begin * n * n, a.grad_values + end * n * n, T(0));
  Between<T> axes[3];
  for (int64_t p = 0; p < lattice.n_points; ++p) {
    if (lows[p] + 1 < begin || lows[p] >= end) continue;
    around(lattice, p, axes);
    for (int i = 0; i < 2; ++i) {
      const int64_t layer = axes[0].low + i;
      if (layer < begin || layer >= end) continue;
      const T share = a.grad[p] * (i ? axes[0].part : T(1) - axes[0].part);
      for (int j = 0; j < 2; ++j) {
        const T part = share * (j ? axes[1].part : T(1) - axes[1].part);
        T* row = a.grad_values + (layer * n + axes[1].low + j) * n + axes[2].low;
        row[0] += part * (T(1) - axes[2].part);
        row[1] += part * axes[2].part;
      }
    }
  }
}

}  // namespace

template <class T>
void sample_voxels_forward(const SampleVoxelsArgs<T>& a, int n_threads) {
  parallel_for(a.lattice.n_points, kPointsPerChunk, n_threads,
               [&](int64_t begin, int64_t end) { read(a, begin, end); });
}

template <class T>
void sample_voxels_backward(const SampleVoxelsGradArgs<T>& a, int n_threads) {
  const VoxelLattice<T>& lattice = a.lattice;
  const std::unique_ptr<std::int32_t[]> lows(new std::int32_t[static_cast<std::size_t>(lattice.n_points)]);
  parallel_for(lattice.n_points, kPointsPerChunk, n_threads, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const T* x = lattice.points + 3 * p;
      const bool inside = core::in_box(x, lattice.extent);
      lows[p] =
          inside ? static_cast<std::int32_t>(core::layers_around(x[0], lattice.extent[0], lattice.n).low) : kOutside;
    }
  });
  // A few blocks of layers for each thread: every block looks through all points.
  const int64_t grain = std::max<int64_t>(1, (lattice.n + 4 * n_threads - 1) / (4 * n_threads));
  parallel_for(lattice.n, grain, n_threads, [&](int64_t begin, int64_t end) { gather(a, lows.get(), begin, end); });
}

template void sample_voxels_forward<float>(const SampleVoxelsArgs<float>&, int);
template void sample_voxels_forward<double>(const SampleVoxelsArgs<double>&, int);
template void sample_voxels_backward<float>(const SampleVoxelsGradArgs<float>&, int);
template void sample_voxels_backward<double>(const SampleVoxelsGradArgs<double>&, int);

}  // namespace uner3d::cpu
