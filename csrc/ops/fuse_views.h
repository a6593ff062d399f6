// Contract of fuse_views that the CPU and CUDA back ends keep.
#pragma once

#include "views.h"

namespace uner3d {

template <class T>
struct FuseViewsArgs {
  Views<T> views;
  const T* maps;          // (n_views, height, width, n_channels)
  const T* points;        // (n_points, 3)
  const T* view_weights;  // (n_points, n_views) if weights_per_point, else (n_views); null: all 1
  bool weights_per_point;
  T* mean;        // (n_points, n_channels)
  T* var;         // (n_points, n_channels)
  T* weight_sum;  // (n_points)
  std::int64_t n_points, n_channels;
};

template <class T>
struct FuseViewsGradArgs {
  Views<T> views;
  const T* maps;  // as in the forward
  const T* points;
  const T* view_weights;
  bool weights_per_point;
  const T* mean;  // results of the forward
  const T* var;
  const T* weight_sum;
  const T* grad_mean;        // (n_points, n_channels); each of the three may be null: zero
  const T* grad_var;         // (n_points, n_channels)
  const T* grad_weight_sum;  // (n_points)
  T* grad_maps;              // like maps; null: not wanted; overwritten
  T* grad_weights;           // like view_weights; null: not wanted; overwritten
  T* grad_points;            // (n_points, 3); null: not wanted; overwritten
  std::int64_t n_points, n_channels;
};

namespace cpu {
template <class T>
void fuse_views_forward(const FuseViewsArgs<T>& args, int n_threads);
template <class T>
void fuse_views_backward(const FuseViewsGradArgs<T>& args, int n_threads);
}  // namespace cpu

namespace cuda {
void fuse_views_forward(const FuseViewsArgs<float>& args, const ViewLaunch& launch);
// Adds to grad_maps by atomics; grad_maps must hold zeros (or what is to be added to). The gradient of weights
// (n_views) goes to `partials` instead of grad_weights: zeros (fuse_views_partial_rows, n_views), to be summed over the
// rows.
void fuse_views_backward(const FuseViewsGradArgs<float>& args, double* partials, const ViewLaunch& launch);
// Adds the gradient of the maps from these pairs alone, in their order.
void fuse_views_backward_sorted(const FuseViewsGradArgs<float>& args, const ViewPairs& pairs, const ViewLaunch& launch);
std::int64_t fuse_views_partial_rows(std::int64_t n_points, std::int64_t n_channels);
}  // namespace cuda

}  // namespace uner3d
