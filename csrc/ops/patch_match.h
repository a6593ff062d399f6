// Contract of patch matching that the back ends keep.
#pragma once

#include "views.h"

namespace uner3d {

constexpr int kMaxPatchSide = 7;      // samples along each side of a window
constexpr int kMaxPatchSources = 31;  // bits of `chosen`
constexpr int kMaxPatchBest = 8;      // correlations that are averaged

template <class T>
struct PatchMatchArgs {
  Views<T> views;               // of the images
  const T* images;              // (n_views, height, width) grey, usually in [0, 1]
  const T* depth;               // (height, width) z-depth in the reference view; not positive or not finite: left out
  const T* normal;              // (height, width, 3) in the world
  T* out_depth;                 // (height, width), 0 where left out
  T* out_normal;                // (height, width, 3) unit length, towards the camera; 0 where left out
  T* score;                     // (height, width) in [-1, 1]; 0 where left out
  std::int32_t* chosen;         // (height, width) bit i: source i correlates by core::kChosen or more
  const std::int64_t* sources;  // (n_sources,) views, on the host, none of them the reference
  std::int64_t reference, n_sources;
  T near, far;       // depths stay between these
  T reach;           // pixels in the sources by which the first iteration moves a depth at most; halved each time
  T least_variance;  // of a window's grey values, below which a pixel keeps its plane
  int n_best;        // sources whose correlations are averaged, the best ones
  int side, step;    // samples along each side of a window (odd), pixels between them
  int n_iterations;
  std::uint32_t seed;
};

namespace cpu {
template <class T>
void patch_match_forward(const PatchMatchArgs<T>& args, int n_threads);
}  // namespace cpu

namespace cuda {
// Bytes of device memory that matching needs besides its arguments.
std::int64_t patch_match_scratch(std::int64_t n_pixels);
// Of the arguments only `sources` is read on the host, before the call returns.
void patch_match_forward(const PatchMatchArgs<float>& args, void* scratch, int device, void* stream);
}  // namespace cuda

}  // namespace uner3d
