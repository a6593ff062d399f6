#include "../ops/blend_views.h"

#include "bind.h"

namespace uner3d::bind {
namespace {

// Addresses in the order of the fields of BlendViewsArgs, then the sizes.
template <class T>
struct BlendInputs {
  Address maps, K_maps, images, K, cam_from_world, points, directions, hidden, feature_weight, angle_weight,
      score_weight, view_weights;

  BlendViewsArgs<T> args(double sharpness, std::int64_t n_views, std::int64_t height, std::int64_t width,
                         std::int64_t n_channels, std::int64_t photo_height, std::int64_t photo_width,
                         std::int64_t n_points, std::int64_t n_hidden, Address colour) const {
    const T* const poses = pointer<const T>(cam_from_world);
    return {
        {pointer<const T>(K_maps), poses, n_views, height, width},
        pointer<const T>(maps),
        {pointer<const T>(K), poses, n_views, photo_height, photo_width},
        pointer<const T>(images),
        pointer<const T>(points),
        pointer<const T>(directions),
        pointer<const T>(hidden),
        pointer<const T>(view_weights),
        {pointer<const T>(feature_weight), pointer<const T>(angle_weight), pointer<const T>(score_weight), n_hidden},
        static_cast<T>(sharpness),
        pointer<T>(colour),
        n_points,
        n_channels};
  }
};

template <class T>
void bind_cpu(py::module_& m) {
  m.def(typed<T>("blend_views_forward").c_str(),
        [](Address maps, Address K_maps, Address images, Address K, Address cam_from_world, Address points,
           Address directions, Address hidden, Address feature_weight, Address angle_weight, Address score_weight,
           Address view_weights, double sharpness, std::int64_t n_views, std::int64_t height, std::int64_t width,
           std::int64_t n_channels, std::int64_t photo_height, std::int64_t photo_width, std::int64_t n_points,
           std::int64_t n_hidden, Address colour, int n_threads) {
          const BlendInputs<T> inputs{maps,           K_maps,       images,       K,
                                      cam_from_world, points,       directions,   hidden,
                                      feature_weight, angle_weight, score_weight, view_weights};
          const auto args = inputs.args(sharpness, n_views, height, width, n_channels, photo_height, photo_width,
                                        n_points, n_hidden, colour);
          py::gil_scoped_release nogil;
          cpu::blend_views_forward(args, n_threads);
        });
  m.def(typed<T>("blend_views_backward").c_str(),
        [](Address maps, Address K_maps, Address images, Address K, Address cam_from_world, Address points,
           Address directions, Address hidden, Address feature_weight, Address angle_weight, Address score_weight,
           Address view_weights, double sharpness, std::int64_t n_views, std::int64_t height, std::int64_t width,
           std::int64_t n_channels, std::int64_t photo_height, std::int64_t photo_width, std::int64_t n_points,
           std::int64_t n_hidden, Address grad_colour, Address grad_features, Address grad_hidden,
           Address grad_feature_weight, Address grad_angle_weight, Address grad_score_weight, int n_threads) {
          const BlendInputs<T> inputs{maps,           K_maps,       images,       K,
                                      cam_from_world, points,       directions,   hidden,
                                      feature_weight, angle_weight, score_weight, view_weights};
          const BlendViewsGradArgs<T> args{inputs.args(sharpness, n_views, height, width, n_channels, photo_height,
                                                       photo_width, n_points, n_hidden, 0),
                                           pointer<const T>(grad_colour),
                                           pointer<T>(grad_features),
                                           pointer<T>(grad_hidden),
                                           pointer<T>(grad_feature_weight),
                                           pointer<T>(grad_angle_weight),
                                           pointer<T>(grad_score_weight)};
          py::gil_scoped_release nogil;
          cpu::blend_views_backward(args, n_threads);
        });
}

}  // namespace

void bind_blend_views(py::module_& m) {
  bind_cpu<float>(m);
  bind_cpu<double>(m);
}

}  // namespace uner3d::bind
