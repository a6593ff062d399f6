// Contract of sample_views that the CPU and CUDA back ends keep.
#pragma once

#include "views.h"

namespace uner3d {

template <class T>
struct SampleViewsArgs {
  Views<T> views;
  const T* maps;    // (n_views, height, width, n_channels)
  const T* points;  // (n_points, 3)
  T* values;        // (n_points, n_views, n_channels); zero where not valid
  bool* valid;      // (n_points, n_views)
  std::int64_t n_points, n_channels;
};

template <class T>
struct SampleViewsGradArgs {
  Views<T> views;
  const T* maps;  // as in the forward
  const T* points;
  const T* grad_values;  // (n_points, n_views, n_channels)
  T* grad_maps;          // like maps; null: not wanted; overwritten
  T* grad_points;        // (n_points, 3); null: not wanted; overwritten
  std::int64_t n_points, n_channels;
};

namespace cpu {
template <class T>
void sample_views_forward(const SampleViewsArgs<T>& args, int n_threads);
template <class T>
void sample_views_backward(const SampleViewsGradArgs<T>& args, int n_threads);
}  // namespace cpu

namespace cuda {
void sample_views_forward(const SampleViewsArgs<float>& args, const ViewLaunch& launch);
// Adds to grad_maps, by atomics or, from the pairs given, in their order.
void sample_views_backward(const SampleViewsGradArgs<float>& args, const ViewLaunch& launch);
void sample_views_backward_sorted(const SampleViewsGradArgs<float>& args, const ViewPairs& pairs,
                                  const ViewLaunch& launch);
}  // namespace cuda

}  // namespace uner3d
