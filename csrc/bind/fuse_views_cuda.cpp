#include "../ops/fuse_views.h"
#include "view_launch.h"

namespace uner3d::bind {
namespace {

FuseViewsGradArgs<float> grad_args(Address maps, Address K, Address cam_from_world, Address points,
                                   Address view_weights, bool weights_per_point, Address mean, Address var,
                                   Address weight_sum, Address grad_mean, Address grad_var, Address grad_weight_sum,
                                   Address grad_maps, Address grad_weights, Address grad_points, std::int64_t n_views,
                                   std::int64_t height, std::int64_t width, std::int64_t n_channels,
                                   std::int64_t n_points) {
  return {{pointer<const float>(K), pointer<const float>(cam_from_world), n_views, height, width},
          pointer<const float>(maps),
          pointer<const float>(points),
          pointer<const float>(view_weights),
          weights_per_point,
          pointer<const float>(mean),
          pointer<const float>(var),
          pointer<const float>(weight_sum),
          pointer<const float>(grad_mean),
          pointer<const float>(grad_var),
          pointer<const float>(grad_weight_sum),
          pointer<float>(grad_maps),
          pointer<float>(grad_weights),
          pointer<float>(grad_points),
          n_points,
          n_channels};
}

void forward(Address maps, Address K, Address cam_from_world, Address points, Address view_weights,
             bool weights_per_point, Address mean, Address var, Address weight_sum, std::int64_t n_views,
             std::int64_t height, std::int64_t width, std::int64_t n_channels, std::int64_t n_points, int map_type,
             Address cameras, int device, Address stream) {
  const FuseViewsArgs<float> args{
      {pointer<const float>(K), pointer<const float>(cam_from_world), n_views, height, width},
      pointer<const float>(maps),
      pointer<const float>(points),
      pointer<const float>(view_weights),
      weights_per_point,
      pointer<float>(mean),
      pointer<float>(var),
      pointer<float>(weight_sum),
      n_points,
      n_channels};
  py::gil_scoped_release nogil;
  cuda::fuse_views_forward(args, view_launch(map_type, cameras, device, stream));
}

void backward(Address maps, Address K, Address cam_from_world, Address points, Address view_weights,
              bool weights_per_point, Address mean, Address var, Address weight_sum, Address grad_mean,
              Address grad_var, Address grad_weight_sum, Address grad_maps, Address grad_weights, Address grad_points,
              std::int64_t n_views, std::int64_t height, std::int64_t width, std::int64_t n_channels,
              std::int64_t n_points, Address partials, int map_type, Address cameras, int device, Address stream) {
  const auto args = grad_args(maps, K, cam_from_world, points, view_weights, weights_per_point, mean, var, weight_sum,
                              grad_mean, grad_var, grad_weight_sum, grad_maps, grad_weights, grad_points, n_views,
                              height, width, n_channels, n_points);
  py::gil_scoped_release nogil;
  cuda::fuse_views_backward(args, pointer<double>(partials), view_launch(map_type, cameras, device, stream));
}

void backward_sorted(Address maps, Address K, Address cam_from_world, Address points, Address view_weights,
                     bool weights_per_point, Address mean, Address var, Address weight_sum, Address grad_mean,
                     Address grad_var, Address grad_weight_sum, Address grad_maps, Address grad_weights,
                     Address grad_points, std::int64_t n_views, std::int64_t height, std::int64_t width,
                     std::int64_t n_channels, std::int64_t n_points, Address keys, Address order, std::int64_t n_pairs,
                     std::int64_t first_point, int map_type, Address cameras, int device, Address stream) {
  const auto args = grad_args(maps, K, cam_from_world, points, view_weights, weights_per_point, mean, var, weight_sum,
                              grad_mean, grad_var, grad_weight_sum, grad_maps, grad_weights, grad_points, n_views,
                              height, width, n_channels, n_points);
  py::gil_scoped_release nogil;
  cuda::fuse_views_backward_sorted(args, view_pairs(keys, order, n_pairs, first_point),
                                   view_launch(map_type, cameras, device, stream));
}

}  // namespace

void bind_fuse_views_cuda(py::module_& m) {
  m.def("fuse_views_forward_cuda", forward);
  m.def("fuse_views_backward_cuda", backward);
  m.def("fuse_views_backward_sorted_cuda", backward_sorted);
  m.def("fuse_views_partial_rows_cuda", cuda::fuse_views_partial_rows);
}

}  // namespace uner3d::bind
