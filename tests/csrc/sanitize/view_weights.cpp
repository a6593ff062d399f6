#include "../../../csrc/ops/view_weights.h"

#include "check.h"
#include "memory.h"
#include "scene.h"

namespace sanitize {
namespace {

using uner3d::ViewWeightsArgs;
using uner3d::ViewWeightsGradArgs;

// Points lie within the ramp of visibility: 0.59 to 0.92 behind depths of about 2, relative to these.
constexpr float kTolerance = 0.5f, kPower = 8;

void run(Check& check, const std::string& name, Scene scene, bool with_parts) {
  const std::int64_t n = scene.n_points(), n_map = scene.n_views * scene.height * scene.width;
  const auto depths = scene.random.uniform(n_map, 1.95f, 2.05f), masks = scene.random.uniform(n_map, 0, 1),
             grad = scene.random.uniform(n * scene.n_views, -1, 1);
  std::vector<float> directions;
  for (std::int64_t i = 0; i < n; ++i) {
    const float x = scene.random.uniform(-0.5f, 0.5f), y = scene.random.uniform(-0.5f, 0.5f);
    const float length = std::sqrt(x * x + y * y + 1);
    for (float d : {x, y, 1.0f}) directions.push_back(d / length);
  }
  const auto part = [&](const float* p) { return with_parts ? p : nullptr; };
  const auto wanted = [&](float* p) { return with_parts ? p : nullptr; };
  std::vector<float> weights(grad.size()), to_points(scene.points.size()), to_directions(directions.size()),
      to_masks(masks.size()), to_depths(depths.size());
  uner3d::cpu::view_weights_forward(
      ViewWeightsArgs<float>{scene.here(), scene.points.data(), part(depths.data()), part(masks.data()),
                             part(directions.data()), kPower, kTolerance, weights.data(), n},
      1);
  uner3d::cpu::view_weights_backward(
      ViewWeightsGradArgs<float>{scene.here(), scene.points.data(), part(depths.data()), part(masks.data()),
                                 part(directions.data()), kPower, kTolerance, grad.data(), to_points.data(),
                                 wanted(to_directions.data()), wanted(to_masks.data()), wanted(to_depths.data()), n},
      1);

  SceneThere there(scene);
  const OnDevice<float> depths_there(depths), masks_there(masks), directions_there(directions), grad_there(grad),
      weights_there(n * scene.n_views);
  uner3d::cuda::view_weights_forward(
      {there.views(), there.points.get(), part(depths_there.get()), part(masks_there.get()),
       part(directions_there.get()), kPower, kTolerance, weights_there.get(), n},
      there.launch());
  check.close(name + " weights", weights_there.read(), weights, 1e-4, 1e-5);

  OnDevice<float> grad_points(3 * n), grad_directions(3 * n), grad_masks(n_map), grad_depths(n_map);
  ViewWeightsGradArgs<float> grads{there.views(),
                                   there.points.get(),
                                   part(depths_there.get()),
                                   part(masks_there.get()),
                                   part(directions_there.get()),
                                   kPower,
                                   kTolerance,
                                   grad_there.get(),
                                   grad_points.get(),
                                   wanted(grad_directions.get()),
                                   wanted(grad_masks.zero().get()),
                                   wanted(grad_depths.zero().get()),
                                   n};
  uner3d::cuda::view_weights_backward(grads, there.launch());
  check.close(name + " grad_points", grad_points.read(), to_points, 2e-3, 2e-4);
  if (!with_parts) return;
  check.close(name + " grad_directions", grad_directions.read(), to_directions, 2e-3, 2e-4);
  check.close(name + " grad_masks by atomics", grad_masks.read(), to_masks, 2e-3, 2e-4);
  check.close(name + " grad_depths by atomics", grad_depths.read(), to_depths, 2e-3, 2e-4);
  const ViewPairs pairs = there.pairs();
  grads.grad_points = grads.grad_directions = nullptr;
  grads.grad_masks = grad_masks.zero().get(), grads.grad_depths = grad_depths.zero().get();
  uner3d::cuda::view_weights_backward_sorted(grads, pairs, there.launch());
  check.close(name + " grad_masks in order", grad_masks.read(), to_masks, 2e-3, 2e-4);
  check.close(name + " grad_depths in order", grad_depths.read(), to_depths, 2e-3, 2e-4);
}

const Register registered("view_weights", [](Check& check) {
  run(check, "view_weights", Scene(3, 9, 12, 200), true);
  run(check, "view_weights of 60 views", Scene(60, 5, 6, 15), true);
  run(check, "view_weights without maps", Scene(3, 9, 12, 100), false);
});

}  // namespace
}  // namespace sanitize
