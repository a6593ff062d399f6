#include "../ops/ray_edges.h"

#include "bind.h"
#include "grid_box.h"

namespace uner3d::bind {
namespace {

template <class T>
void bind_cpu(py::module_& m) {
  m.def(typed<T>("ray_edges").c_str(),
        [](Address extent, std::int64_t n, bool contracted, Address values, Address knots, Address origins,
           Address directions, Address jitter, Address edges, std::int64_t n_rays, std::int64_t n_steps,
           std::int64_t n_samples, T uniform, int n_threads) {
          const RayEdgesArgs<T> args{grid_box<T>(extent, n, contracted),
                                     pointer<const T>(values),
                                     pointer<const T>(knots),
                                     pointer<const T>(origins),
                                     pointer<const T>(directions),
                                     pointer<const T>(jitter),
                                     pointer<T>(edges),
                                     n_rays,
                                     n_steps,
                                     n_samples,
                                     uniform};
          py::gil_scoped_release nogil;
          cpu::ray_edges(args, n_threads);
        });
}

}  // namespace

void bind_ray_edges(py::module_& m) {
  bind_cpu<float>(m);
  bind_cpu<double>(m);
}

}  // namespace uner3d::bind
