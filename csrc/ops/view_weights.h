// Contract of view_weights that the CPU and CUDA back ends keep.
#pragma once

#include "views.h"

namespace uner3d {

template <class T>
struct ViewWeightsArgs {
  Views<T> views;
  const T* points;      // (n_points, 3)
  const T* depths;      // (n_views, height, width) or null
  const T* masks;       // (n_views, height, width) or null
  const T* directions;  // (n_points, 3) unit or null
  T angle_power, depth_tolerance;
  T* weights;  // (n_points, n_views)
  std::int64_t n_points;
};

template <class T>
struct ViewWeightsGradArgs {
  Views<T> views;
  const T* points;  // as in the forward
  const T* depths;
  const T* masks;
  const T* directions;
  T angle_power, depth_tolerance;
  const T* grad_weights;  // (n_points, n_views)
  T* grad_points;         // (n_points, 3); each of the four may be null: not wanted; overwritten
  T* grad_directions;     // (n_points, 3)
  T* grad_masks;          // (n_views, height, width)
  T* grad_depths;         // (n_views, height, width)
  std::int64_t n_points;
};

namespace cpu {
template <class T>
void view_weights_forward(const ViewWeightsArgs<T>& args, int n_threads);
template <class T>
void view_weights_backward(const ViewWeightsGradArgs<T>& args, int n_threads);
}  // namespace cpu

namespace cuda {
void view_weights_forward(const ViewWeightsArgs<float>& args, const ViewLaunch& launch);
// Adds to grad_masks and grad_depths, by atomics or, from the pairs given, in their order.
void view_weights_backward(const ViewWeightsGradArgs<float>& args, const ViewLaunch& launch);
void view_weights_backward_sorted(const ViewWeightsGradArgs<float>& args, const ViewPairs& pairs,
                                  const ViewLaunch& launch);
}  // namespace cuda

}  // namespace uner3d
