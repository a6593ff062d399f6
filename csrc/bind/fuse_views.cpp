#include "../ops/fuse_views.h"

#include "bind.h"

namespace uner3d::bind {
namespace {

template <class T>
void bind_cpu(py::module_& m) {
  m.def(typed<T>("fuse_views_forward").c_str(),
        [](Address maps, Address K, Address cam_from_world, Address points, Address view_weights,
           bool weights_per_point, Address mean, Address var, Address weight_sum, std::int64_t n_views,
           std::int64_t height, std::int64_t width, std::int64_t n_channels, std::int64_t n_points, int n_threads) {
          const FuseViewsArgs<T> args{
              {pointer<const T>(K), pointer<const T>(cam_from_world), n_views, height, width},
              pointer<const T>(maps),
              pointer<const T>(points),
              pointer<const T>(view_weights),
              weights_per_point,
              pointer<T>(mean),
              pointer<T>(var),
              pointer<T>(weight_sum),
              n_points,
              n_channels};
          py::gil_scoped_release nogil;
          cpu::fuse_views_forward(args, n_threads);
        });
  m.def(typed<T>("fuse_views_backward").c_str(),
        [](Address maps, Address K, Address cam_from_world, Address points, Address view_weights,
           bool weights_per_point, Address mean, Address var, Address weight_sum, Address grad_mean, Address grad_var,
           Address grad_weight_sum, Address grad_maps, Address grad_weights, Address grad_points, std::int64_t n_views,
           std::int64_t height, std::int64_t width, std::int64_t n_channels, std::int64_t n_points, int n_threads) {
          const FuseViewsGradArgs<T> args{
              {pointer<const T>(K), pointer<const T>(cam_from_world), n_views, height, width},
              pointer<const T>(maps),
              pointer<const T>(points),
              pointer<const T>(view_weights),
              weights_per_point,
              pointer<const T>(mean),
              pointer<const T>(var),
              pointer<const T>(weight_sum),
              pointer<const T>(grad_mean),
              pointer<const T>(grad_var),
              pointer<const T>(grad_weight_sum),
              pointer<T>(grad_maps),
              pointer<T>(grad_weights),
              pointer<T>(grad_points),
              n_points,
              n_channels};
          py::gil_scoped_release nogil;
          cpu::fuse_views_backward(args, n_threads);
        });
}

}  // namespace

void bind_fuse_views(py::module_& m) {
  bind_cpu<float>(m);
  bind_cpu<double>(m);
}

}  // namespace uner3d::bind
