// The softmax over the views that makes a colour of what each says of a tile of points.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "../core/composite.h"
#include "blend_tiles.h"

namespace uner3d::cpu {

UNER3D_HD float exp_of_negative(float x) {
  float alpha, through;
  core::attenuate(x, alpha, through);
  return through;
}

UNER3D_HD double exp_of_negative(double x) { return std::exp(-x); }

// Shares of the views, from their scores and weights, and the colour they give (3, kTile); 0 where no view counts.
template <class T>
void blend(BlendView<T>* views, std::int64_t n_views, T (&colour)[kBlendColours][kTile]) {
  T best[kTile], total[kTile];
  for (int p = 0; p < kTile; ++p) best[p] = std::numeric_limits<T>::lowest(), total[p] = T(0);
  for (std::int64_t v = 0; v < n_views; ++v)
#pragma omp simd
    for (int p = 0; p < kTile; ++p)
      best[p] = (views[v].seen[p] != 0) & (views[v].score[p] > best[p]) ? views[v].score[p] : best[p];
  for (auto& channel : colour) std::fill(channel, channel + kTile, T(0));
  for (std::int64_t v = 0; v < n_views; ++v) {
    BlendView<T>& view = views[v];
#pragma omp simd
    for (int p = 0; p < kTile; ++p) {
      const T share = view.weight[p] * exp_of_negative(best[p] - view.score[p]);
      view.share[p] = view.seen[p] ? share : T(0);
      total[p] += view.share[p];
    }
    for (int k = 0; k < kBlendColours; ++k)
#pragma omp simd
      for (int p = 0; p < kTile; ++p) colour[k][p] += view.share[p] * view.pixel[k][p];
  }
  // Divided, and not multiplied by an inverse, which would be infinite where all weights are tiny.
#pragma omp simd
  for (int p = 0; p < kTile; ++p) total[p] = total[p] != T(0) ? total[p] : T(1);
  for (int k = 0; k < kBlendColours; ++k)
#pragma omp simd
    for (int p = 0; p < kTile; ++p) colour[k][p] /= total[p];
  for (std::int64_t v = 0; v < n_views; ++v)
#pragma omp simd
    for (int p = 0; p < kTile; ++p) views[v].share[p] /= total[p];
}

}  // namespace uner3d::cpu
