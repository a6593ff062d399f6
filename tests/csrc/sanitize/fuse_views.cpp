#include "../../../csrc/ops/fuse_views.h"

#include "check.h"
#include "memory.h"
#include "scene.h"

namespace sanitize {
namespace {

using uner3d::FuseViewsArgs;
using uner3d::FuseViewsGradArgs;

enum class Weights { kNone, kShared, kPerPoint };

struct Job {
  Job(Scene s, std::int64_t channels, Weights w) : scene(s), c(channels), weights_are(w) {
    const std::int64_t n = scene.n_points();
    maps = coarse(scene.n_views * scene.height * scene.width * c, scene.random);
    const std::int64_t n_weights = w == Weights::kNone ? 0 : w == Weights::kShared ? scene.n_views : n * scene.n_views;
    weights = scene.random.uniform(n_weights, 0.2f, 1.5f);
    grad_mean = scene.random.uniform(n * c, -1, 1), grad_var = scene.random.uniform(n * c, -1, 1);
    grad_sum = scene.random.uniform(n, -1, 1);
  }
  bool per_point() const { return weights_are == Weights::kPerPoint; }
  float* if_weighted(float* p) const { return weights_are == Weights::kNone ? nullptr : p; }

  Scene scene;
  std::int64_t c;
  Weights weights_are;
  std::vector<float> maps, weights, grad_mean, grad_var, grad_sum;
};

struct Result {
  explicit Result(const Job& job)
      : mean(job.grad_mean.size()),
        var(mean.size()),
        sum(job.grad_sum.size()),
        maps(job.maps.size()),
        weights(job.weights.size()),
        points(job.scene.points.size()) {}
  std::vector<float> mean, var, sum, maps, weights, points;
};

Result run_here(Job& job) {
  Result to(job);
  const std::int64_t n = job.scene.n_points();
  const float* weights = job.if_weighted(job.weights.data());
  uner3d::cpu::fuse_views_forward(
      FuseViewsArgs<float>{job.scene.here(), job.maps.data(), job.scene.points.data(), weights, job.per_point(),
                           to.mean.data(), to.var.data(), to.sum.data(), n, job.c},
      1);
  uner3d::cpu::fuse_views_backward(
      FuseViewsGradArgs<float>{job.scene.here(), job.maps.data(), job.scene.points.data(), weights, job.per_point(),
                               to.mean.data(), to.var.data(), to.sum.data(), job.grad_mean.data(), job.grad_var.data(),
                               job.grad_sum.data(), to.maps.data(), job.if_weighted(to.weights.data()),
                               to.points.data(), n, job.c},
      1);
  return to;
}

std::vector<float> sum_rows(const std::vector<double>& rows, std::size_t width) {
  std::vector<double> sums(width);
  for (std::size_t i = 0; i < rows.size(); ++i) sums[i % width] += rows[i];
  return {sums.begin(), sums.end()};
}

void run_gradients(Check& check, const std::string& name, const Job& job, const Result& want, SceneThere& there,
                   FuseViewsGradArgs<float> grads, MapType type) {
  const std::int64_t n = job.scene.n_points(), n_views = job.scene.n_views;
  const bool shared = job.weights_are == Weights::kShared;
  OnDevice<float> grad_maps(static_cast<std::int64_t>(job.maps.size())), grad_points(3 * n),
      grad_weights(static_cast<std::int64_t>(job.weights.size()));
  OnDevice<double> partials(shared ? uner3d::cuda::fuse_views_partial_rows(n, job.c) * n_views : 0);
  grads.grad_maps = grad_maps.zero().get(), grads.grad_points = grad_points.get();
  grads.grad_weights = job.per_point() ? grad_weights.get() : nullptr;
  uner3d::cuda::fuse_views_backward(grads, shared ? partials.zero().get() : nullptr, there.launch(type));
  check.close(name + " grad_maps by atomics", grad_maps.read(), want.maps, 2e-4, 2e-5);
  check.close(name + " grad_points", grad_points.read(), want.points, 2e-4, 2e-5);
  if (job.per_point()) check.close(name + " grad_weights", grad_weights.read(), want.weights, 2e-4, 2e-5);
  if (shared)
    check.close(name + " grad_weights", sum_rows(partials.read(), static_cast<std::size_t>(n_views)), want.weights,
                2e-4, 2e-5);
  const ViewPairs pairs = there.pairs();
  grads.grad_maps = grad_maps.zero().get(), grads.grad_points = grads.grad_weights = nullptr;
  uner3d::cuda::fuse_views_backward_sorted(grads, pairs, there.launch(type));
  check.close(name + " grad_maps in order", grad_maps.read(), want.maps, 2e-4, 2e-5);
}

void run(Check& check, const std::string& name, Job job, bool in_bfloat16 = false) {
  const Result want = run_here(job);
  const std::int64_t n = job.scene.n_points();
  SceneThere there(job.scene);
  const OnDevice<float> whole(job.maps), weights(job.weights), mean(n * job.c), var(n * job.c), sum(n),
      grad_mean(job.grad_mean), grad_var(job.grad_var), grad_sum(job.grad_sum);
  const OnDevice<std::uint16_t> halves(to_bfloat16(job.maps));
  const MapType type = in_bfloat16 ? MapType::kBfloat16 : MapType::kFloat32;
  const float* maps = in_bfloat16 ? reinterpret_cast<const float*>(halves.get()) : whole.get();
  uner3d::cuda::fuse_views_forward({there.views(), maps, there.points.get(), job.if_weighted(weights.get()),
                                    job.per_point(), mean.get(), var.get(), sum.get(), n, job.c},
                                   there.launch(type));
  check.close(name + " mean", mean.read(), want.mean, 1e-5, 2e-5);
  check.close(name + " var", var.read(), want.var, 1e-5, 2e-5);
  check.close(name + " weight_sum", sum.read(), want.sum, 1e-5, 2e-5);
  run_gradients(
      check, name, job, want, there,
      {there.views(), maps, there.points.get(), job.if_weighted(weights.get()), job.per_point(), mean.get(), var.get(),
       sum.get(), grad_mean.get(), grad_var.get(), grad_sum.get(), nullptr, nullptr, nullptr, n, job.c},
      type);
}

const Register registered("fuse_views", [](Check& check) {
  run(check, "fuse_views", Job(Scene(3, 9, 12, 200), 12, Weights::kNone));
  run(check, "fuse_views, weights of views", Job(Scene(5, 8, 7, 150), 32, Weights::kShared));
  run(check, "fuse_views, weights of pairs", Job(Scene(4, 6, 7, 90), 3, Weights::kPerPoint));
  run(check, "fuse_views of bfloat16", Job(Scene(3, 9, 12, 100), 8, Weights::kPerPoint), true);
});

}  // namespace
}  // namespace sanitize
