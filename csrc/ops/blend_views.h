// Contract of blend_views that the CPU back end keeps; on CUDA it is made of other ops.
#pragma once

#include "views.h"

namespace uner3d {

// The layers that give a view's score at a point: w . relu(F f + A a + h), where f are the view's features, a its pixel
// and angles (core/blend_views.h), and h is the point's own part.
template <class T>
struct BlendLayers {
  const T* feature_weight;  // (n_hidden, n_channels)
  const T* angle_weight;    // (n_hidden, 7)
  const T* score_weight;    // (n_hidden,)
  std::int64_t n_hidden;    // at most kMostHidden
};

constexpr std::int64_t kMostHidden = 64;

template <class T>
struct BlendViewsArgs {
  Views<T> views;         // of the maps
  const T* maps;          // (n_views, height, width, n_channels)
  Views<T> photo_views;   // of the images: as many views, the same cam_from_world
  const T* images;        // (n_views, photo height, photo width, 3)
  const T* points;        // (n_points, 3)
  const T* directions;    // (n_points, 3)
  const T* hidden;        // (n_points, n_hidden)
  const T* view_weights;  // (n_points, n_views), not negative; null: 1
  BlendLayers<T> layers;
  T sharpness;
  T* colour;  // (n_points, 3)
  std::int64_t n_points, n_channels;
};

template <class T>
struct BlendViewsGradArgs {
  BlendViewsArgs<T> forward;  // its colour is not read
  const T* grad_colour;       // (n_points, 3)
  T* grad_features;           // (n_points, n_views, n_channels), of the samples of the maps; null: not wanted
  T* grad_hidden;             // (n_points, n_hidden)
  T* grad_feature_weight;     // as the layers' weights
  T* grad_angle_weight;
  T* grad_score_weight;
};

namespace cpu {
template <class T>
void blend_views_forward(const BlendViewsArgs<T>& args, int n_threads);
template <class T>
void blend_views_backward(const BlendViewsGradArgs<T>& args, int n_threads);
}  // namespace cpu

}  // namespace uner3d
