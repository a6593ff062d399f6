// Contract of ray_edges that the CPU kernel keeps; elsewhere it is made of torch's operations.
#pragma once

#include <cstdint>

#include "density_grid.h"

namespace uner3d {

template <class T>
struct RayEdgesArgs {
  GridBox<T> box;
  const T* values;                          // (n^3,)
  const T* knots;                           // (R, M + 1), M > 0
  const T* origins;                         // (R, 3)
  const T* directions;                      // (R, 3)
  const T* jitter;                          // (R, S + 1) in [0, 1), or null for the middles
  T* edges;                                 // (R, S + 1)
  std::int64_t n_rays, n_steps, n_samples;  // R, M, S > 0
  T uniform;
};

namespace cpu {
template <class T>
void ray_edges(const RayEdgesArgs<T>& args, int n_threads);
}  // namespace cpu

}  // namespace uner3d
