#include "../ops/view_weights.h"
#include "view_launch.h"

namespace uner3d::bind {
namespace {

ViewWeightsGradArgs<float> grad_args(Address points, Address K, Address cam_from_world, Address depths, Address masks,
                                     Address directions, double angle_power, double depth_tolerance,
                                     Address grad_weights, Address grad_points, Address grad_directions,
                                     Address grad_masks, Address grad_depths, std::int64_t n_views, std::int64_t height,
                                     std::int64_t width, std::int64_t n_points) {
  return {{pointer<const float>(K), pointer<const float>(cam_from_world), n_views, height, width},
          pointer<const float>(points),
          pointer<const float>(depths),
          pointer<const float>(masks),
          pointer<const float>(directions),
          static_cast<float>(angle_power),
          static_cast<float>(depth_tolerance),
          pointer<const float>(grad_weights),
          pointer<float>(grad_points),
          pointer<float>(grad_directions),
          pointer<float>(grad_masks),
          pointer<float>(grad_depths),
          n_points};
}

void forward(Address points, Address K, Address cam_from_world, Address depths, Address masks, Address directions,
             double angle_power, double depth_tolerance, Address weights, std::int64_t n_views, std::int64_t height,
             std::int64_t width, std::int64_t n_points, int map_type, Address cameras, int device, Address stream) {
  const ViewWeightsArgs<float> args{
      {pointer<const float>(K), pointer<const float>(cam_from_world), n_views, height, width},
      pointer<const float>(points),
      pointer<const float>(depths),
      pointer<const float>(masks),
      pointer<const float>(directions),
      static_cast<float>(angle_power),
      static_cast<float>(depth_tolerance),
      pointer<float>(weights),
      n_points};
  py::gil_scoped_release nogil;
  cuda::view_weights_forward(args, view_launch(map_type, cameras, device, stream));
}

void backward(Address points, Address K, Address cam_from_world, Address depths, Address masks, Address directions,
              double angle_power, double depth_tolerance, Address grad_weights, Address grad_points,
              Address grad_directions, Address grad_masks, Address grad_depths, std::int64_t n_views,
              std::int64_t height, std::int64_t width, std::int64_t n_points, int map_type, Address cameras, int device,
              Address stream) {
  const auto args =
      grad_args(points, K, cam_from_world, depths, masks, directions, angle_power, depth_tolerance, grad_weights,
                grad_points, grad_directions, grad_masks, grad_depths, n_views, height, width, n_points);
  py::gil_scoped_release nogil;
  cuda::view_weights_backward(args, view_launch(map_type, cameras, device, stream));
}

void backward_sorted(Address points, Address K, Address cam_from_world, Address depths, Address masks,
                     Address directions, double angle_power, double depth_tolerance, Address grad_weights,
                     Address grad_points, Address grad_directions, Address grad_masks, Address grad_depths,
                     std::int64_t n_views, std::int64_t height, std::int64_t width, std::int64_t n_points, Address keys,
                     Address order, std::int64_t n_pairs, std::int64_t first_point, int map_type, Address cameras,
                     int device, Address stream) {
  const auto args =
      grad_args(points, K, cam_from_world, depths, masks, directions, angle_power, depth_tolerance, grad_weights,
                grad_points, grad_directions, grad_masks, grad_depths, n_views, height, width, n_points);
  py::gil_scoped_release nogil;
  cuda::view_weights_backward_sorted(args, view_pairs(keys, order, n_pairs, first_point),
                                     view_launch(map_type, cameras, device, stream));
}

void pair_keys(Address points, Address K, Address cam_from_world, std::int64_t n_views, std::int64_t height,
               std::int64_t width, std::int64_t n_points, Address keys, int map_type, Address cameras, int device,
               Address stream) {
  const Views<float> views{pointer<const float>(K), pointer<const float>(cam_from_world), n_views, height, width};
  py::gil_scoped_release nogil;
  cuda::view_pair_keys(views, pointer<const float>(points), n_points, pointer<std::int64_t>(keys),
                       view_launch(map_type, cameras, device, stream));
}

}  // namespace

void bind_view_weights_cuda(py::module_& m) {
  m.def("view_weights_forward_cuda", forward);
  m.def("view_weights_backward_cuda", backward);
  m.def("view_weights_backward_sorted_cuda", backward_sorted);
  m.def("view_pair_keys_cuda", pair_keys);  // for the sorted gradients of all ops over views
  m.attr("camera_floats") = cuda::kCameraFloats;
}

}  // namespace uner3d::bind
