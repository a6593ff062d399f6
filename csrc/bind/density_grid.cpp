#include "../ops/density_grid.h"

#include "bind.h"
#include "grid_box.h"

namespace uner3d::bind {
namespace {

template <class T>
void bind_cpu(py::module_& m) {
  m.def(typed<T>("grid_cells").c_str(), [](Address extent, std::int64_t n, bool contracted, Address points,
                                           Address cells, std::int64_t n_points, int n_threads) {
    const GridCellsArgs<T> args{grid_box<T>(extent, n, contracted), pointer<const T>(points),
                                pointer<std::int64_t>(cells), n_points};
    py::gil_scoped_release nogil;
    cpu::grid_cells(args, n_threads);
  });
  m.def(typed<T>("grid_update").c_str(),
        [](Address extent, std::int64_t n, bool contracted, Address points, Address sigma, Address allowed,
           Address values, Address seen, std::int64_t n_points, T rate, int n_threads) {
          const GridUpdateArgs<T> args{grid_box<T>(extent, n, contracted),
                                       pointer<const T>(points),
                                       pointer<const T>(sigma),
                                       pointer<const bool>(allowed),
                                       pointer<T>(values),
                                       pointer<T>(seen),
                                       n_points,
                                       rate};
          py::gil_scoped_release nogil;
          cpu::grid_update(args, n_threads);
        });
}

}  // namespace

void bind_density_grid(py::module_& m) {
  bind_cpu<float>(m);
  bind_cpu<double>(m);
}

}  // namespace uner3d::bind
