#include "../ops/view_weights.h"

#include "bind.h"

namespace uner3d::bind {
namespace {

template <class T>
void bind_cpu(py::module_& m) {
  m.def(typed<T>("view_weights_forward").c_str(),
        [](Address points, Address K, Address cam_from_world, Address depths, Address masks, Address directions,
           double angle_power, double depth_tolerance, Address weights, std::int64_t n_views, std::int64_t height,
           std::int64_t width, std::int64_t n_points, int n_threads) {
          const ViewWeightsArgs<T> args{
              {pointer<const T>(K), pointer<const T>(cam_from_world), n_views, height, width},
              pointer<const T>(points),
              pointer<const T>(depths),
              pointer<const T>(masks),
              pointer<const T>(directions),
              static_cast<T>(angle_power),
              static_cast<T>(depth_tolerance),
              pointer<T>(weights),
              n_points};
          py::gil_scoped_release nogil;
          cpu::view_weights_forward(args, n_threads);
        });
  m.def(typed<T>("view_weights_backward").c_str(),
        [](Address points, Address K, Address cam_from_world, Address depths, Address masks, Address directions,
           double angle_power, double depth_tolerance, Address grad_weights, Address grad_points,
           Address grad_directions, Address grad_masks, Address grad_depths, std::int64_t n_views, std::int64_t height,
           std::int64_t width, std::int64_t n_points, int n_threads) {
          const ViewWeightsGradArgs<T> args{
              {pointer<const T>(K), pointer<const T>(cam_from_world), n_views, height, width},
              pointer<const T>(points),
              pointer<const T>(depths),
              pointer<const T>(masks),
              pointer<const T>(directions),
              static_cast<T>(angle_power),
              static_cast<T>(depth_tolerance),
              pointer<const T>(grad_weights),
              pointer<T>(grad_points),
              pointer<T>(grad_directions),
              pointer<T>(grad_masks),
              pointer<T>(grad_depths),
              n_points};
          py::gil_scoped_release nogil;
          cpu::view_weights_backward(args, n_threads);
        });
}

}  // namespace

void bind_view_weights(py::module_& m) {
  bind_cpu<float>(m);
  bind_cpu<double>(m);
}

}  // namespace uner3d::bind
