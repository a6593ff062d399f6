#include "../ops/sample_views.h"

#include "bind.h"

namespace uner3d::bind {
namespace {

template <class T>
void bind_cpu(py::module_& m) {
  m.def(typed<T>("sample_views_forward").c_str(),
        [](Address maps, Address K, Address cam_from_world, Address points, Address values, Address valid,
           std::int64_t n_views, std::int64_t height, std::int64_t width, std::int64_t n_channels,
           std::int64_t n_points, int n_threads) {
          const SampleViewsArgs<T> args{
              {pointer<const T>(K), pointer<const T>(cam_from_world), n_views, height, width},
              pointer<const T>(maps),
              pointer<const T>(points),
              pointer<T>(values),
              pointer<bool>(valid),
              n_points,
              n_channels};
          py::gil_scoped_release nogil;
          cpu::sample_views_forward(args, n_threads);
        });
  m.def(typed<T>("sample_views_backward").c_str(),
        [](Address maps, Address K, Address cam_from_world, Address points, Address grad_values, Address grad_maps,
           Address grad_points, std::int64_t n_views, std::int64_t height, std::int64_t width,
           std::int64_t n_channels, std::int64_t n_points, int n_threads) {
          const SampleViewsGradArgs<T> args{
              {pointer<const T>(K), pointer<const T>(cam_from_world), n_views, height, width},
              pointer<const T>(maps),
              pointer<const T>(points),
              pointer<const T>(grad_values),
              pointer<T>(grad_maps),
              pointer<T>(grad_points),
              n_points,
              n_channels};
          py::gil_scoped_release nogil;
          cpu::sample_views_backward(args, n_threads);
        });
}

}  // namespace

void bind_sample_views(py::module_& m) {
  bind_cpu<float>(m);
  bind_cpu<double>(m);
}

}  // namespace uner3d::bind
