#include "../ops/thin.h"

#include "bind.h"

namespace uner3d::bind {
namespace {

template <class T>
std::int64_t insert(cpu::PoissonThinner& thinner, Address points, std::int64_t n, Address keep) {
  py::gil_scoped_release nogil;
  return thinner.insert(pointer<const T>(points), n, pointer<bool>(keep));
}

template <class T>
std::int64_t voxel_thin(Address points, Address scores, std::int64_t n, double voxel, Address keep) {
  py::gil_scoped_release nogil;
  return cpu::voxel_thin(pointer<const T>(points), pointer<const double>(scores), n, voxel, pointer<bool>(keep));
}

}  // namespace

void bind_thin(py::module_& m) {
  // Local to the module, since the module of every instruction set has a class of this name.
  py::class_<cpu::PoissonThinner>(m, "PoissonThinner", py::module_local())
      .def(py::init([](double radius, std::int64_t capacity_hint, double x, double y, double z) {
        return new cpu::PoissonThinner(radius, capacity_hint, {x, y, z});
      }))
      .def("insert_f32", &insert<float>)
      .def("insert_f64", &insert<double>)
      .def("count", &cpu::PoissonThinner::count)
      .def("n_bytes", &cpu::PoissonThinner::n_bytes);
  m.def("voxel_thin_f32", &voxel_thin<float>);
  m.def("voxel_thin_f64", &voxel_thin<double>);
}

}  // namespace uner3d::bind
