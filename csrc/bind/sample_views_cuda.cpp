#include "../ops/sample_views.h"
#include "view_launch.h"

namespace uner3d::bind {
namespace {

SampleViewsGradArgs<float> grad_args(Address maps, Address K, Address cam_from_world, Address points,
                                     Address grad_values, Address grad_maps, Address grad_points, std::int64_t n_views,
                                     std::int64_t height, std::int64_t width, std::int64_t n_channels,
                                     std::int64_t n_points) {
  return {{pointer<const float>(K), pointer<const float>(cam_from_world), n_views, height, width},
          pointer<const float>(maps),
          pointer<const float>(points),
          pointer<const float>(grad_values),
          pointer<float>(grad_maps),
          pointer<float>(grad_points),
          n_points,
          n_channels};
}

void forward(Address maps, Address K, Address cam_from_world, Address points, Address values, Address valid,
             std::int64_t n_views, std::int64_t height, std::int64_t width, std::int64_t n_channels,
             std::int64_t n_points, int map_type, Address cameras, int device, Address stream) {
  const SampleViewsArgs<float> args{
      {pointer<const float>(K), pointer<const float>(cam_from_world), n_views, height, width},
      pointer<const float>(maps),
      pointer<const float>(points),
      pointer<float>(values),
      pointer<bool>(valid),
      n_points,
      n_channels};
  py::gil_scoped_release nogil;
  cuda::sample_views_forward(args, view_launch(map_type, cameras, device, stream));
}

void backward(Address maps, Address K, Address cam_from_world, Address points, Address grad_values, Address grad_maps,
              Address grad_points, std::int64_t n_views, std::int64_t height, std::int64_t width,
              std::int64_t n_channels, std::int64_t n_points, int map_type, Address cameras, int device,
              Address stream) {
  const auto args = grad_args(maps, K, cam_from_world, points, grad_values, grad_maps, grad_points, n_views, height,
                              width, n_channels, n_points);
  py::gil_scoped_release nogil;
  cuda::sample_views_backward(args, view_launch(map_type, cameras, device, stream));
}

void backward_sorted(Address maps, Address K, Address cam_from_world, Address points, Address grad_values,
                     Address grad_maps, Address grad_points, std::int64_t n_views, std::int64_t height,
                     std::int64_t width, std::int64_t n_channels, std::int64_t n_points, Address keys, Address order,
                     std::int64_t n_pairs, std::int64_t first_point, int map_type, Address cameras, int device,
                     Address stream) {
  const auto args = grad_args(maps, K, cam_from_world, points, grad_values, grad_maps, grad_points, n_views, height,
                              width, n_channels, n_points);
  py::gil_scoped_release nogil;
  cuda::sample_views_backward_sorted(args, view_pairs(keys, order, n_pairs, first_point),
                                     view_launch(map_type, cameras, device, stream));
}

}  // namespace

void bind_sample_views_cuda(py::module_& m) {
  m.def("sample_views_forward_cuda", forward);
  m.def("sample_views_backward_cuda", backward);
  m.def("sample_views_backward_sorted_cuda", backward_sorted);
}

}  // namespace uner3d::bind
