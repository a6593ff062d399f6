// A tile of points in one view after another: inputs of the score, hidden units, scores; and the layers, packed so that
// the hidden units of an input are whole vectors.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "../core/blend_views.h"
#include "../ops/blend_views.h"
#include "page_pool.h"
#include "parallel.h"
#include "view_order.h"
#include "view_tiles.h"

namespace uner3d::cpu {

using core::kBlendColours;
using core::kBlendInputs;

// kBlocks vectors hold the hidden units, zeros behind the last.
template <class T, int kBlocks_>
struct BlendNet {
  static constexpr int kBlocks = kBlocks_, kWide = kVectorBytes / static_cast<int>(sizeof(T));
  static constexpr int kHidden = kBlocks * kWide;
  using Vector = typename Lanes<T, kWide>::type;

  std::int64_t n_inputs, stride;  // of a point's inputs: features, then pixel and angles; of them in memory
  Scratch<T> layer;               // (n_inputs, kHidden)
  alignas(64) T score[kHidden] = {};

  explicit BlendNet(const BlendViewsArgs<T>& a)
      : n_inputs(a.n_channels + kBlendInputs),
        stride((n_inputs + kWide - 1) / kWide * kWide),
        layer(n_inputs * kHidden) {
    std::fill(layer.get(), layer.get() + n_inputs * kHidden, T(0));
    for (std::int64_t j = 0; j < a.layers.n_hidden; ++j) {
      for (std::int64_t c = 0; c < a.n_channels; ++c)
        layer[c * kHidden + j] = a.layers.feature_weight[j * a.n_channels + c];
      for (int c = 0; c < kBlendInputs; ++c)
        layer[(a.n_channels + c) * kHidden + j] = a.layers.angle_weight[j * kBlendInputs + c];
      score[j] = a.layers.score_weight[j];
    }
  }
};

// What one view says of the points of a tile.
template <class T>
struct BlendView {
  std::int32_t seen[kTile];  // and counted: its weight is positive
  T weight[kTile], score[kTile], share[kTile];
  T pixel[kBlendColours][kTile];
};

// Points begin..end of an order whose first is `base` (view_order.h): chunk number `index` of all.
struct BlendChunk {
  const std::uint32_t* order;
  std::int64_t base, begin, end, index;
};

constexpr std::int64_t kBlendChunk = 16 * kTile;  // points

// Calls f for all chunks, in threads; neither their number nor what lies in one depends on the threads.
template <class T, class F>
void for_blend_chunks(const BlendViewsArgs<T>& a, int n_threads, const F& f) {
  static_assert(kOrderBlock % kBlendChunk == 0, "chunks are counted over all orders");
  for_ordered_blocks(a.points, a.n_points, n_threads,
                     [&](const std::uint32_t* order, std::int64_t base, std::int64_t base_end) {
                       parallel_for(base_end - base, kBlendChunk, n_threads, [&](std::int64_t begin, std::int64_t end) {
                         f(BlendChunk{order, base, base + begin, base + end, (base + begin) / kBlendChunk});
                       });
                     });
}

// Points, their directions, and their own part of the hidden units.
template <class T, class Net>
struct BlendTile {
  PointTile<T> at, directions;
  alignas(64) T own[kTile * Net::kHidden];

  void load(const BlendViewsArgs<T>& a, const BlendChunk& chunk, std::int64_t begin) {
    load_tile(a.points, chunk.order, chunk.base, begin, chunk.end, at);
    load_like(a.directions, at, directions);
    const std::int64_t n = a.layers.n_hidden;
    for (int p = 0; p < kTile; ++p) {
      const T* const from = a.hidden + at.index[p] * n;
      T* const to = own + p * Net::kHidden;
      std::copy(from, from + n, to);
      std::fill(to + n, to + Net::kHidden, T(0));
    }
  }
};

// Samples of the maps at the points that are seen, zeros at others.
template <class T>
void sample_features(const BlendViewsArgs<T>& a, std::int64_t view, const TileView<T>& at, const std::int32_t* seen,
                     std::int64_t stride, T* inputs) {
  for (int p = 0; p < kTile; ++p, inputs += stride) {
    if (p + kAhead < kTile) prefetch_tap(a.maps, make_tap(at, p + kAhead, view, a.views, a.n_channels), a.n_channels);
    if (!seen[p]) {
      std::fill(inputs, inputs + a.n_channels, T(0));
      continue;
    }
    sample_into(a.maps, make_tap(at, p, view, a.views, a.n_channels), a.n_channels, inputs);
  }
}

template <class T>
void sample_pixels(const BlendViewsArgs<T>& a, std::int64_t view, const TileView<T>& at, BlendView<T>& out) {
  for (int p = 0; p < kTile; ++p) {
    if (!out.seen[p]) {
      for (int k = 0; k < kBlendColours; ++k) out.pixel[k][p] = T(0);
      continue;
    }
    const Tap<T> tap = make_tap(at, p, view, a.photo_views, kBlendColours);
    for (int k = 0; k < kBlendColours; ++k) out.pixel[k][p] = sample<T>(a.images, tap, k);
  }
}

// Pixel and angles behind the features, and the part of the score that is the angle's alone.
template <class T>
void add_angles(const BlendViewsArgs<T>& a, const core::Camera<T>& camera, const PointTile<T>& points,
                const PointTile<T>& directions, std::int64_t stride, BlendView<T>& out, T* inputs) {
  T angles[4][kTile];
#pragma omp simd
  for (int p = 0; p < kTile; ++p) {
    const auto angle = core::blend_angle(camera, points.x[p], points.y[p], points.z[p], directions.x[p],
                                         directions.y[p], directions.z[p]);
    const bool seen = out.seen[p] != 0;  // else the point may be the camera's own centre
    angles[0][p] = seen ? angle.x : T(0), angles[1][p] = seen ? angle.y : T(0), angles[2][p] = seen ? angle.z : T(0);
    angles[3][p] = seen ? angle.cosine : T(0);
    out.score[p] = a.sharpness * (angles[3][p] - T(1));
  }
  inputs += a.n_channels;
  for (int p = 0; p < kTile; ++p, inputs += stride) {
    for (int k = 0; k < kBlendColours; ++k) inputs[k] = out.pixel[k][p];
    for (int k = 0; k < 4; ++k) inputs[kBlendColours + k] = angles[k][p];
  }
}

// Hidden units (kTile, kHidden) after their ReLU; adds what they give to the scores. Several points at once: their sums
// do not wait for each other, and an input's weights are read once for all.
template <class T, class Net>
void add_scores(const Net& net, const T* inputs, const T* own, T* hidden, T* score) {
  using V = typename Net::Vector;
  constexpr int kRows = Net::kBlocks == 1 ? 8 : Net::kBlocks == 2 ? 4 : Net::kBlocks == 4 ? 2 : 1;
  for (int p = 0; p < kTile; p += kRows) {
    V h[kRows][Net::kBlocks];
    for (int r = 0; r < kRows; ++r)
      for (int b = 0; b < Net::kBlocks; ++b) h[r][b] = load<V>(own + (p + r) * Net::kHidden + b * Net::kWide);
    const T* const from = inputs + p * net.stride;
    for (std::int64_t c = 0; c < net.n_inputs; ++c)
      for (int b = 0; b < Net::kBlocks; ++b) {
        const V w = load<V>(net.layer.get() + c * Net::kHidden + b * Net::kWide);
        for (int r = 0; r < kRows; ++r) h[r][b] += from[r * net.stride + c] * w;
      }
    for (int r = 0; r < kRows; ++r) {
      V sum = {};
      for (int b = 0; b < Net::kBlocks; ++b) {
        const V zero = {}, rectified = h[r][b] < zero ? zero : h[r][b];  // NaN stays
        store(hidden + (p + r) * Net::kHidden + b * Net::kWide, rectified);
        sum += rectified * load<V>(net.score + b * Net::kWide);
      }
      score[p + r] += sum_lanes<T>(sum);
    }
  }
}

// Everything that one view says of a tile. False, and only `seen` written, where it sees none of it.
template <class T, class Net>
bool look(const BlendViewsArgs<T>& a, const Net& net, std::int64_t view, const core::Camera<T>& camera,
          const core::Camera<T>& photo_camera, const BlendTile<T, Net>& tile, BlendView<T>& out, T* inputs, T* hidden) {
  TileView<T> at, photo_at;
  project_tile(camera, a.views, tile.at, at);
  project_tile(photo_camera, a.photo_views, tile.at, photo_at);
  std::int32_t any = 0;
  for (int p = 0; p < kTile; ++p) {
    const T weight = a.view_weights ? a.view_weights[tile.at.index[p] * a.views.n_views + view] : T(1);
    out.weight[p] = weight;
    out.seen[p] = (at.seen[p] != 0) & (photo_at.seen[p] != 0) & (weight > T(0));
    any |= out.seen[p];
  }
  if (!any) return false;
  sample_features(a, view, at, out.seen, net.stride, inputs);
  sample_pixels(a, view, photo_at, out);
  add_angles(a, camera, tile.at, tile.directions, net.stride, out, inputs);
  add_scores(net, inputs, tile.own, hidden, out.score);
  return true;
}

// Calls f with a net whose vectors are as many as the hidden units need.
template <class T, class F>
void with_net(const BlendViewsArgs<T>& a, const F& f) {
  constexpr int kWide = kVectorBytes / static_cast<int>(sizeof(T));
  if (a.layers.n_hidden > kMostHidden) throw std::invalid_argument("hidden: expected at most 64 units");
  const std::int64_t n = (a.layers.n_hidden + kWide - 1) / kWide;
  if (n <= 1) return f(BlendNet<T, 1>(a));
  if (n <= 2) return f(BlendNet<T, 2>(a));
  if (n <= 4) return f(BlendNet<T, 4>(a));
  if constexpr (kWide < 16) {
    if (n <= 8) return f(BlendNet<T, 8>(a));
  }
  if constexpr (kWide < 8) {
    if (n <= 16) return f(BlendNet<T, 16>(a));
  }
  if constexpr (kWide < 4) return f(BlendNet<T, 32>(a));
}

}  // namespace uner3d::cpu
