#include "../ops/composite.h"
#include "bind.h"

namespace uner3d::bind {
namespace {

CompositeSamples<float> samples(Address sigma, Address colour, Address edges, Address ray_offsets, std::int64_t n_rays,
                                std::int64_t n_samples, std::int64_t n_channels) {
  return {pointer<const float>(sigma),
          pointer<const float>(colour),
          pointer<const float>(edges),
          pointer<const std::int64_t>(ray_offsets),
          n_rays,
          n_samples,
          n_channels};
}

void forward(Address sigma, Address colour, Address edges, Address ray_offsets, std::int64_t n_rays,
             std::int64_t n_samples, std::int64_t n_channels, Address out_colour, Address depth, Address opacity,
             Address weights, int device, Address stream) {
  const CompositeArgs<float> args{samples(sigma, colour, edges, ray_offsets, n_rays, n_samples, n_channels),
                                  pointer<float>(out_colour), pointer<float>(depth), pointer<float>(opacity),
                                  pointer<float>(weights)};
  py::gil_scoped_release nogil;
  cuda::composite_forward(args, device, pointer<void>(stream));
}

void backward(Address sigma, Address colour, Address edges, Address ray_offsets, std::int64_t n_rays,
              std::int64_t n_samples, std::int64_t n_channels, Address grad_colour, Address grad_depth,
              Address grad_opacity, Address grad_weights, Address grad_sigma, Address grad_sample_colour,
              Address grad_edges, int device, Address stream) {
  const CompositeGradArgs<float> args{samples(sigma, colour, edges, ray_offsets, n_rays, n_samples, n_channels),
                                      pointer<const float>(grad_colour),
                                      pointer<const float>(grad_depth),
                                      pointer<const float>(grad_opacity),
                                      pointer<const float>(grad_weights),
                                      pointer<float>(grad_sigma),
                                      pointer<float>(grad_sample_colour),
                                      pointer<float>(grad_edges),
                                      nullptr};
  py::gil_scoped_release nogil;
  cuda::composite_backward(args, device, pointer<void>(stream));
}

}  // namespace

void bind_composite_cuda(py::module_& m) {
  m.def("composite_forward_cuda", forward);
  m.def("composite_backward_cuda", backward);
}

}  // namespace uner3d::bind
