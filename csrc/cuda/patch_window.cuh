// The reference's side of a matching window, worked out anew wherever it is used: its pixels are in the first cache,
// while keeping 49 weights a thread would cost local memory.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../core/patch_search.h"
#include "../ops/patch_match.h"

namespace uner3d::cuda {

struct WindowShape {
  std::int32_t height, width;  // of the images
  int side, step;
  const float* distance2;  // (side * side,) of the samples from the centre, on the device
};

struct Pixel {
  std::int32_t index, column, row;
  float u, v;
};

__device__ __forceinline__ Pixel pixel_at(std::int32_t column, std::int32_t row, std::int32_t width) {
  return {row * width + column, column, row, static_cast<float>(column) + 0.5f, static_cast<float>(row) + 0.5f};
}

// What the samples of a window have in common.
struct Window {
  Pixel pixel;
  const float* image;
  float centre, mean, inv_weight, variance;
};

// Writes distance2[i] for thread i of a block.
__device__ __forceinline__ void write_distances(int i, int side, float* distance2) {
  if (i < side * side) distance2[i] = core::window_sample<float>(i, side, 1).distance2;
}

// Calls use(dx, dy, grey, weight) for the samples of a window, in the order of the CPU; the weights do not sum to 1
// yet.
template <class Use>
__device__ __forceinline__ void for_samples(const WindowShape& shape, const Pixel& pixel, const float* image,
                                            float centre, const Use& use) {
  const int half = shape.side / 2;
  const float* distance2 = shape.distance2;
  UNER3D_ROLL
  for (int row = -half; row <= half; ++row) {
    const int dy = row * shape.step, y = min(max(pixel.row + dy, 0), shape.height - 1);
    UNER3D_ROLL
    for (int column = -half; column <= half; ++column) {
      const int dx = column * shape.step, x = min(max(pixel.column + dx, 0), shape.width - 1);
      const float grey = __ldg(image + (y * shape.width + x));
      use(static_cast<float>(dx), static_cast<float>(dy), grey, core::support_weight(grey - centre, *distance2++));
    }
  }
}

__device__ __forceinline__ Window load_window(const WindowShape& shape, const Pixel& pixel, const float* image) {
  Window window{pixel, image, __ldg(image + pixel.index), 0.0f, 0.0f, 0.0f};
  float sum = 0.0f, mean = 0.0f;
  for_samples(shape, pixel, image, window.centre,
              [&](float, float, float grey, float weight) { sum += weight, mean += weight * grey; });
  window.inv_weight = 1.0f / sum, window.mean = mean / sum;
  for_samples(shape, pixel, image, window.centre, [&](float, float, float grey, float weight) {
    const float centred = grey - window.mean;
    window.variance += weight * window.inv_weight * centred * centred;
  });
  return window;
}

}  // namespace uner3d::cuda
