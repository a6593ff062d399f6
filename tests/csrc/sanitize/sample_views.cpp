#include "../../../csrc/ops/sample_views.h"

#include "check.h"
#include "memory.h"
#include "scene.h"

namespace sanitize {
namespace {

using uner3d::SampleViewsArgs;
using uner3d::SampleViewsGradArgs;

static_assert(sizeof(bool) == 1, "flags are read as bytes");

void run(Check& check, const std::string& name, Scene scene, std::int64_t c) {
  const std::int64_t n = scene.n_points(), n_map = scene.n_views * scene.height * scene.width * c,
                     n_values = n * scene.n_views * c;
  const auto maps = scene.random.uniform(n_map, 0, 1), grad = scene.random.uniform(n_values, -1, 1);
  std::vector<float> values(grad.size()), to_maps(maps.size()), to_points(scene.points.size());
  std::vector<unsigned char> valid(static_cast<std::size_t>(n * scene.n_views));
  uner3d::cpu::sample_views_forward(SampleViewsArgs<float>{scene.here(), maps.data(), scene.points.data(),
                                                           values.data(), reinterpret_cast<bool*>(valid.data()), n, c},
                                    1);
  uner3d::cpu::sample_views_backward(SampleViewsGradArgs<float>{scene.here(), maps.data(), scene.points.data(),
                                                                grad.data(), to_maps.data(), to_points.data(), n, c},
                                     1);

  SceneThere there(scene);
  const OnDevice<float> maps_there(maps), grad_there(grad), values_there(n_values);
  const OnDevice<unsigned char> valid_there(n * scene.n_views);
  uner3d::cuda::sample_views_forward({there.views(), maps_there.get(), there.points.get(), values_there.get(),
                                      reinterpret_cast<bool*>(valid_there.get()), n, c},
                                     there.launch());
  check.equal(name + " valid", valid_there.read(), valid);
  check.close(name + " values", values_there.read(), values, 1e-5, 2e-5);

  OnDevice<float> grad_maps(n_map), grad_points(3 * n);
  SampleViewsGradArgs<float> grads{there.views(),
                                   maps_there.get(),
                                   there.points.get(),
                                   grad_there.get(),
                                   grad_maps.zero().get(),
                                   grad_points.get(),
                                   n,
                                   c};
  uner3d::cuda::sample_views_backward(grads, there.launch());
  check.close(name + " grad_maps by atomics", grad_maps.read(), to_maps, 2e-4, 2e-5);
  check.close(name + " grad_points", grad_points.read(), to_points, 2e-4, 2e-5);
  const ViewPairs pairs = there.pairs();
  grads.grad_maps = grad_maps.zero().get(), grads.grad_points = nullptr;
  uner3d::cuda::sample_views_backward_sorted(grads, pairs, there.launch());
  check.close(name + " grad_maps in order", grad_maps.read(), to_maps, 2e-4, 2e-5);
}

const Register registered("sample_views", [](Check& check) {
  run(check, "sample_views", Scene(3, 9, 12, 200), 4);
  run(check, "sample_views of one channel", Scene(5, 8, 7, 150), 1);
  run(check, "sample_views of 36 channels", Scene(2, 6, 7, 90), 36);
});

}  // namespace
}  // namespace sanitize
