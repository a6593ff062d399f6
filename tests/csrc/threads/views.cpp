// Kernels over views: cameras on a circle around the points, all looking at their middle.
#include <cmath>

#include "../../../csrc/ops/blend_views.h"
#include "../../../csrc/ops/fuse_views.h"
#include "../../../csrc/ops/patch_match.h"
#include "../../../csrc/ops/patch_ncc.h"
#include "../../../csrc/ops/sample_views.h"
#include "../../../csrc/ops/view_weights.h"
#include "check.h"

namespace uner3d::threads {
namespace {

constexpr std::int64_t kViews = 5, kHeight = 48, kWidth = 64, kPixels = kViews * kHeight * kWidth;
constexpr std::int64_t kPoints = 8'000, kChannels = 20;

struct Rig {
  Values K, pose;

  Rig() {
    for (int v = 0; v < kViews; ++v) {
      const float angle = 0.3f * static_cast<float>(v), c = std::cos(angle), s = std::sin(angle);
      for (const float value : {60.0f, 0.0f, 32.0f, 0.0f, 60.0f, 24.0f, 0.0f, 0.0f, 1.0f}) K.push_back(value);
      for (const float value : {c, 0.0f, s, 0.0f, 0.0f, 1.0f, 0.0f, 0.0f, -s, 0.0f, c, 3.0f}) pose.push_back(value);
    }
  }
  Views<float> views() const { return {K.data(), pose.data(), kViews, kHeight, kWidth}; }
};

const Rig rig;
const Values points = uniform(3 * kPoints, -1, 1, 1);

Values fuse(int n_threads) {
  const Values maps = uniform(kPixels * kChannels, 0, 1, 2), weights = uniform(kPoints * kViews, 0, 1, 3);
  constexpr std::int64_t kAll = kPoints * kChannels;
  Values mean(kAll), var(kAll), sum(kPoints), to_maps(maps.size()), to_weights(weights.size()), to_points(3 * kPoints);
  cpu::fuse_views_forward(FuseViewsArgs<float>{rig.views(), maps.data(), points.data(), weights.data(), true,
                                               mean.data(), var.data(), sum.data(), kPoints, kChannels},
                          n_threads);
  const Values to_mean = uniform(kAll, -1, 1, 4), to_var = uniform(kAll, -1, 1, 5), to_sum = uniform(kPoints, -1, 1, 6);
  cpu::fuse_views_backward(
      FuseViewsGradArgs<float>{rig.views(), maps.data(), points.data(), weights.data(), true, mean.data(), var.data(),
                               sum.data(), to_mean.data(), to_var.data(), to_sum.data(), to_maps.data(),
                               to_weights.data(), to_points.data(), kPoints, kChannels},
      n_threads);
  return joined({mean, var, sum, to_maps, to_weights, to_points});
}

Values sample(int n_threads) {
  const Values maps = uniform(kPixels * kChannels, 0, 1, 2);
  Values values(kPoints * kViews * kChannels), to_maps(maps.size()), to_points(3 * kPoints);
  std::vector<char> valid(kPoints * kViews);
  cpu::sample_views_forward(SampleViewsArgs<float>{rig.views(), maps.data(), points.data(), values.data(),
                                                   reinterpret_cast<bool*>(valid.data()), kPoints, kChannels},
                            n_threads);
  const Values grad = uniform(static_cast<std::int64_t>(values.size()), -1, 1, 7);
  cpu::sample_views_backward(SampleViewsGradArgs<float>{rig.views(), maps.data(), points.data(), grad.data(),
                                                        to_maps.data(), to_points.data(), kPoints, kChannels},
                             n_threads);
  return joined({values, Values(valid.begin(), valid.end()), to_maps, to_points});
}

Values weigh(int n_threads) {
  const Values depths = uniform(kPixels, 2, 4, 8), masks = uniform(kPixels, 0, 1, 9);
  Values directions;
  for (std::int64_t i = 0; i < kPoints; ++i) directions.insert(directions.end(), {0.0f, 0.6f, 0.8f});
  Values weights(kPoints * kViews), to_points(3 * kPoints), to_directions(3 * kPoints), to_masks(kPixels);
  Values to_depths(kPixels);
  cpu::view_weights_forward(ViewWeightsArgs<float>{rig.views(), points.data(), depths.data(), masks.data(),
                                                   directions.data(), 2.0f, 0.05f, weights.data(), kPoints},
                            n_threads);
  const Values grad = uniform(kPoints * kViews, -1, 1, 10);
  cpu::view_weights_backward(
      ViewWeightsGradArgs<float>{rig.views(), points.data(), depths.data(), masks.data(), directions.data(), 2.0f,
                                 0.05f, grad.data(), to_points.data(), to_directions.data(), to_masks.data(),
                                 to_depths.data(), kPoints},
      n_threads);
  return joined({weights, to_points, to_directions, to_masks, to_depths});
}

Values blend(int n_threads) {
  constexpr std::int64_t kHidden = 16;
  const Values maps = uniform(kPixels * kChannels, 0, 1, 14), images = uniform(kPixels * 3, 0, 1, 15);
  const Values hidden = uniform(kPoints * kHidden, -1, 1, 16), directions = uniform(3 * kPoints, -1, 1, 17);
  const Values features = uniform(kHidden * kChannels, -1, 1, 18), angles = uniform(kHidden * 7, -1, 1, 19);
  const Values scores = uniform(kHidden, -1, 1, 20), grad = uniform(3 * kPoints, -1, 1, 21);
  Values colour(3 * kPoints), to_features(kPoints * kViews * kChannels), to_hidden(hidden.size());
  Values to_layer(features.size()), to_angles(angles.size()), to_scores(scores.size());
  const BlendViewsArgs<float> args{
      rig.views(),   maps.data(),   rig.views(),
      images.data(), points.data(), directions.data(),
      hidden.data(), nullptr,       {features.data(), angles.data(), scores.data(), kHidden},
      30.0f,         colour.data(), kPoints,
      kChannels};
  cpu::blend_views_forward(args, n_threads);
  cpu::blend_views_backward(BlendViewsGradArgs<float>{args, grad.data(), to_features.data(), to_hidden.data(),
                                                      to_layer.data(), to_angles.data(), to_scores.data()},
                            n_threads);
  return joined({colour, to_features, to_hidden, to_layer, to_angles, to_scores});
}

Values match(int n_threads) {
  constexpr std::int64_t kOne = kHeight * kWidth;
  const Values images = uniform(kPixels, 0, 1, 11), depth = uniform(kOne, 2, 4, 12);
  Values normal;
  for (std::int64_t i = 0; i < kOne; ++i) normal.insert(normal.end(), {0.0f, 0.0f, -1.0f});
  Values out_depth(kOne), out_normal(3 * kOne), score(kOne);
  std::vector<std::int32_t> chosen(kOne);
  const std::vector<std::int64_t> sources{1, 2, 3};
  cpu::patch_match_forward(PatchMatchArgs<float>{rig.views(),
                                                 images.data(),
                                                 depth.data(),
                                                 normal.data(),
                                                 out_depth.data(),
                                                 out_normal.data(),
                                                 score.data(),
                                                 chosen.data(),
                                                 sources.data(),
                                                 0,
                                                 3,
                                                 1.0f,
                                                 6.0f,
                                                 4.0f,
                                                 1e-4f,
                                                 2,
                                                 5,
                                                 1,
                                                 3,
                                                 7},
                           n_threads);
  return joined({out_depth, out_normal, score, Values(chosen.begin(), chosen.end())});
}

Values correlate(int n_threads) {
  constexpr std::int64_t kOne = kHeight * kWidth;
  const Values images = uniform(kPixels, 0, 1, 11), depth = uniform(kOne, 2, 4, 12);
  Values normal;
  std::vector<std::int64_t> references, pixels;
  const std::vector<std::int64_t> sources{0, 1, 2, 3};
  for (std::int64_t i = 0; i < kOne; ++i) {
    normal.insert(normal.end(), {0.0f, 0.0f, -1.0f});
    references.push_back(i % kViews);
    pixels.insert(pixels.end(), {i % kWidth, i / kWidth});
  }
  const PatchNccArgs<float> args{rig.views(),
                                 images.data(),
                                 references.data(),
                                 pixels.data(),
                                 depth.data(),
                                 normal.data(),
                                 sources.data(),
                                 kOne,
                                 4,
                                 5,
                                 1};
  Values scores(4 * kOne), to_depth(kOne), to_normal(3 * kOne);
  cpu::patch_ncc_forward(args, scores.data(), n_threads);
  const Values grad = uniform(4 * kOne, -1, 1, 13);
  cpu::patch_ncc_backward(args, {grad.data(), to_depth.data(), to_normal.data()}, n_threads);
  return joined({scores, to_depth, to_normal});
}

}  // namespace

void check_views() {
  check("fuse_views", fuse);
  check("sample_views", sample);
  check("view_weights", weigh);
  check("blend_views", blend);
  check("patch_match", match);
  check("patch_ncc", correlate);
}

}  // namespace uner3d::threads
