#include "../../../csrc/ops/composite.h"

#include "check.h"
#include "memory.h"

namespace sanitize {
namespace {

using uner3d::CompositeArgs;
using uner3d::CompositeGradArgs;
using uner3d::CompositeSamples;

struct Rays {
  std::vector<float> sigma, colour, edges;
  std::vector<std::int64_t> offsets;  // empty: dense
  std::int64_t n_rays, n_samples, n_channels;
  std::int64_t n() const { return static_cast<std::int64_t>(sigma.size()); }

  CompositeSamples<float> at(const float* s, const float* c, const float* e, const std::int64_t* o) const {
    return {s, c, e, offsets.empty() ? nullptr : o, n_rays, n_samples, n_channels};
  }
};

void fill(Rays& rays, std::int64_t n, Random& random) {
  rays.sigma = random.uniform(n, 0, 3);
  rays.colour = random.uniform(n * rays.n_channels, 0, 1);
}

Rays dense(std::int64_t n_rays, std::int64_t n_samples, std::int64_t n_channels) {
  Random random(4);
  Rays rays{{}, {}, {}, {}, n_rays, n_samples, n_channels};
  fill(rays, n_rays * n_samples, random);
  for (std::int64_t r = 0; r < n_rays; ++r) {
    float t = 1;
    for (std::int64_t i = 0; i <= n_samples; ++i, t += random.uniform(0.01f, 0.1f)) rays.edges.push_back(t);
  }
  return rays;
}

// Rays of 0 to 69 samples, some of them empty.
Rays packed(std::int64_t n_rays, std::int64_t n_channels) {
  Random random(5);
  Rays rays{{}, {}, {}, {0}, n_rays, 0, n_channels};
  for (std::int64_t r = 0; r < n_rays; ++r) {
    float t = 1;
    for (std::int64_t i = 0; i < r % 70; ++i) {
      rays.edges.push_back(t);
      t += random.uniform(0.01f, 0.1f);
      rays.edges.push_back(t);
    }
    rays.offsets.push_back(static_cast<std::int64_t>(rays.edges.size()) / 2);
  }
  rays.n_samples = rays.offsets.back();
  fill(rays, rays.n_samples, random);
  return rays;
}

void run(Check& check, const std::string& name, const Rays& rays) {
  Random random(6);
  const std::int64_t n = rays.n(), r = rays.n_rays, c = rays.n_channels;
  const auto n_rows = static_cast<std::size_t>(r), n_wide = static_cast<std::size_t>(r * c);
  const auto grad_colour = random.uniform(r * c, -1, 1), grad_depth = random.uniform(r, -1, 1),
             grad_opacity = random.uniform(r, -1, 1), grad_weights = random.uniform(n, -1, 1);
  std::vector<float> colour(n_wide), depth(n_rows), opacity(n_rows), weights(rays.sigma.size()),
      to_sigma(rays.sigma.size()), to_colour(rays.colour.size()), to_edges(rays.edges.size());
  const auto here = rays.at(rays.sigma.data(), rays.colour.data(), rays.edges.data(), rays.offsets.data());
  uner3d::cpu::composite_forward(
      CompositeArgs<float>{here, colour.data(), depth.data(), opacity.data(), weights.data()}, 1);
  uner3d::cpu::composite_backward(
      CompositeGradArgs<float>{here, grad_colour.data(), grad_depth.data(), grad_opacity.data(), grad_weights.data(),
                               to_sigma.data(), to_colour.data(), to_edges.data(), weights.data()},
      1);

  const OnDevice<float> sigma(rays.sigma), sample_colour(rays.colour), edges(rays.edges);
  const OnDevice<std::int64_t> offsets(rays.offsets);
  const auto there = rays.at(sigma.get(), sample_colour.get(), edges.get(), offsets.get());
  const OnDevice<float> out_colour(r * c), out_depth(r), out_opacity(r), out_weights(n);
  uner3d::cuda::composite_forward({there, out_colour.get(), out_depth.get(), out_opacity.get(), out_weights.get()},
                                  kDevice, stream());
  check.close(name + " colour", out_colour.read(), colour, 1e-5, 1e-5);
  check.close(name + " depth", out_depth.read(), depth, 1e-5, 1e-5);
  check.close(name + " opacity", out_opacity.read(), opacity, 1e-5, 1e-5);
  check.close(name + " weights", out_weights.read(), weights, 1e-5, 1e-5);

  const OnDevice<float> from_colour(grad_colour), from_depth(grad_depth), from_opacity(grad_opacity),
      from_weights(grad_weights), sigma_grad(n), colour_grad(n * c),
      edges_grad(static_cast<std::int64_t>(rays.edges.size()));
  uner3d::cuda::composite_backward({there, from_colour.get(), from_depth.get(), from_opacity.get(), from_weights.get(),
                                    sigma_grad.get(), colour_grad.get(), edges_grad.get(), nullptr},
                                   kDevice, stream());
  check.close(name + " grad_sigma", sigma_grad.read(), to_sigma, 1e-4, 2e-5);
  check.close(name + " grad_colour", colour_grad.read(), to_colour, 1e-4, 2e-5);
  check.close(name + " grad_edges", edges_grad.read(), to_edges, 1e-4, 2e-5);
}

const Register registered("composite", [](Check& check) {
  run(check, "composite, dense", dense(70, 33, 3));
  for (const std::int64_t n_samples : {1, 6, 96, 127, 300})
    run(check, "composite, dense, " + std::to_string(n_samples) + " samples",
        dense(41, n_samples, n_samples % 2 ? 3 : 4));
  run(check, "composite, dense, many channels", dense(9, 5, 40));
  run(check, "composite, packed", packed(150, 5));
});

}  // namespace
}  // namespace sanitize
