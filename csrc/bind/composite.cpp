#include "../ops/composite.h"

#include "bind.h"

namespace uner3d::bind {
namespace {

template <class T>
void bind_cpu(py::module_& m) {
  m.def(
      typed<T>("composite_forward").c_str(),
      [](Address sigma, Address colour, Address edges, Address ray_offsets, std::int64_t n_rays, std::int64_t n_samples,
         std::int64_t n_channels, Address out_colour, Address depth, Address opacity, Address weights, int n_threads) {
        const CompositeArgs<T> args{{pointer<const T>(sigma), pointer<const T>(colour), pointer<const T>(edges),
                                     pointer<const std::int64_t>(ray_offsets), n_rays, n_samples, n_channels},
                                    pointer<T>(out_colour),
                                    pointer<T>(depth),
                                    pointer<T>(opacity),
                                    pointer<T>(weights)};
        py::gil_scoped_release nogil;
        cpu::composite_forward(args, n_threads);
      });
  m.def(
      typed<T>("composite_backward").c_str(),
      [](Address sigma, Address colour, Address edges, Address ray_offsets, std::int64_t n_rays, std::int64_t n_samples,
         std::int64_t n_channels, Address grad_colour, Address grad_depth, Address grad_opacity, Address grad_weights,
         Address weights, Address grad_sigma, Address grad_sample_colour, Address grad_edges, int n_threads) {
        const CompositeGradArgs<T> args{{pointer<const T>(sigma), pointer<const T>(colour), pointer<const T>(edges),
                                         pointer<const std::int64_t>(ray_offsets), n_rays, n_samples, n_channels},
                                        pointer<const T>(grad_colour),
                                        pointer<const T>(grad_depth),
                                        pointer<const T>(grad_opacity),
                                        pointer<const T>(grad_weights),
                                        pointer<T>(grad_sigma),
                                        pointer<T>(grad_sample_colour),
                                        pointer<T>(grad_edges),
                                        pointer<const T>(weights)};
        py::gil_scoped_release nogil;
        cpu::composite_backward(args, n_threads);
      });
}

}  // namespace

void bind_composite(py::module_& m) {
  bind_cpu<float>(m);
  bind_cpu<double>(m);
}

}  // namespace uner3d::bind
