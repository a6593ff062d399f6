// Contract of composite that the back ends keep. Samples of all rays lie one after another: N in all, those of ray r
// are [r * S, (r + 1) * S) (dense) or [ray_offsets[r], ray_offsets[r + 1]) (packed).
#pragma once

#include <cstdint>

namespace uner3d {

template <class T>
struct CompositeSamples {
  const T* sigma;                   // (N,)
  const T* colour;                  // (N, C)
  const T* edges;                   // dense (R, S + 1): sample i of a ray spans edges i and i + 1; packed (N, 2)
  const std::int64_t* ray_offsets;  // packed (R + 1,), from 0 to N, non-decreasing; null when dense
  std::int64_t n_rays, n_samples;   // R, and S (dense) or N (packed)
  std::int64_t n_channels;          // C
};

template <class T>
struct CompositeArgs {
  CompositeSamples<T> in;
  T* colour;   // (R, C)
  T* depth;    // (R,)
  T* opacity;  // (R,)
  T* weights;  // (N,)
};

template <class T>
struct CompositeGradArgs {
  CompositeSamples<T> in;
  const T* grad_colour;   // (R, C) or null for zeros, as the next three
  const T* grad_depth;    // (R,)
  const T* grad_opacity;  // (R,)
  const T* grad_weights;  // (N,)
  T* grad_sigma;          // (N,)
  T* grad_sample_colour;  // (N, C) or null where not wanted
  T* grad_edges;          // as edges, or null where not wanted
  const T* weights;  // (N,) of the forward pass, which spare the CPU all exponentials but one a ray; unused on CUDA
};

namespace cpu {
template <class T>
void composite_forward(const CompositeArgs<T>& args, int n_threads);
template <class T>
void composite_backward(const CompositeGradArgs<T>& args, int n_threads);
}  // namespace cpu

namespace cuda {
// `stream` is a cudaStream_t of the device that holds the tensors; nothing is allocated, nothing waits. ray_offsets
// that leave [0, N] are clamped to it, so that no access goes astray.
void composite_forward(const CompositeArgs<float>& args, int device, void* stream);
void composite_backward(const CompositeGradArgs<float>& args, int device, void* stream);
}  // namespace cuda

}  // namespace uner3d
