#include "../ops/sample_voxels.h"

#include "bind.h"

namespace uner3d::bind {
namespace {

template <class T>
VoxelLattice<T> voxel_lattice(Address extent, std::int64_t n, Address points, std::int64_t n_points) {
  const T* e = pointer<const T>(extent);
  return {{e[0], e[1], e[2]}, n, pointer<const T>(points), n_points};
}

template <class T>
void bind_cpu(py::module_& m) {
  m.def(typed<T>("sample_voxels").c_str(), [](Address extent, std::int64_t n, Address points, std::int64_t n_points,
                                              Address values, Address out, int n_threads) {
    const SampleVoxelsArgs<T> args{voxel_lattice<T>(extent, n, points, n_points), pointer<const T>(values),
                                   pointer<T>(out)};
    py::gil_scoped_release nogil;
    cpu::sample_voxels_forward(args, n_threads);
  });
  m.def(typed<T>("sample_voxels_backward").c_str(),
        [](Address extent, std::int64_t n, Address points, std::int64_t n_points, Address grad, Address grad_values,
           int n_threads) {
          const SampleVoxelsGradArgs<T> args{voxel_lattice<T>(extent, n, points, n_points), pointer<const T>(grad),
                                             pointer<T>(grad_values)};
          py::gil_scoped_release nogil;
          cpu::sample_voxels_backward(args, n_threads);
        });
}

}  // namespace

void bind_sample_voxels(py::module_& m) {
  bind_cpu<float>(m);
  bind_cpu<double>(m);
}

}  // namespace uner3d::bind
