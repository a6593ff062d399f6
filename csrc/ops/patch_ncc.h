// Contract of patch_ncc that the back ends keep.
#pragma once

#include "patch_match.h"

namespace uner3d {

template <class T>
struct PatchNccArgs {
  Views<T> views;                  // of the images
  const T* images;                 // (n_views, height, width) grey
  const std::int64_t* references;  // (n_pixels,) view of each pixel
  const std::int64_t* pixels;      // (n_pixels, 2) column and row
  const T* depth;                  // (n_pixels,)
  const T* normal;                 // (n_pixels, 3) in the world
  const std::int64_t* sources;     // (n_sources,)
  std::int64_t n_pixels, n_sources;
  int side, step;  // samples along each side of a window (odd, at most kMaxPatchSide), pixels between them
};

template <class T>
struct PatchNccGrads {
  const T* scores;  // (n_pixels, n_sources)
  T* depth;         // (n_pixels,) overwritten
  T* normal;        // (n_pixels, 3) overwritten
};

namespace cpu {
// scores (n_pixels, n_sources): -1 where the pixel, its depth or its source is not valid, or does not see the point.
template <class T>
void patch_ncc_forward(const PatchNccArgs<T>& args, T* scores, int n_threads);
template <class T>
void patch_ncc_backward(const PatchNccArgs<T>& args, const PatchNccGrads<T>& grads, int n_threads);
}  // namespace cpu

namespace cuda {
// Bytes of device memory that a call needs besides its arguments.
std::int64_t patch_ncc_scratch(std::int64_t n_views, std::int64_t n_sources);
void patch_ncc_forward(const PatchNccArgs<float>& args, float* scores, void* scratch, int device, void* stream);
void patch_ncc_backward(const PatchNccArgs<float>& args, const PatchNccGrads<float>& grads, void* scratch, int device,
                        void* stream);
}  // namespace cuda

}  // namespace uner3d
