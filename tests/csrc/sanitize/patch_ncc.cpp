#include "../../../csrc/ops/patch_ncc.h"

#include "scene.h"

namespace sanitize {
namespace {

using uner3d::PatchNccArgs;

struct Pixels {
  Pixels(std::int64_t n_views, std::int64_t height, std::int64_t width, std::int64_t n)
      : scene(n_views, height, width, 0) {
    Random random(11);
    // Coarse and slowly varying, so that no sample's cell of four pixels hangs on the last bit.
    for (std::int64_t i = 0; i < n_views * height * width; ++i)
      grey.push_back(0.5f +
                     0.4f * std::sin(0.7f * static_cast<float>(i % width) + 0.5f * static_cast<float>(i / width)));
    depth = random.uniform(n, 3.4f, 3.6f);
    normal = random.uniform(3 * n, -0.3f, 0.3f);
    for (std::int64_t i = 0; i < n; ++i) {
      normal[static_cast<std::size_t>(3 * i + 2)] = -1;
      references.push_back(i % (n_views + 1));  // the last one does not exist
      at.push_back((7 * i) % width), at.push_back((5 * i) % (height + 1));
    }
    for (std::int64_t v = 0; v < n_views; ++v) sources.push_back(v);
  }

  PatchNccArgs<float> arguments(int side) const {
    PatchNccArgs<float> args{};
    args.n_pixels = static_cast<std::int64_t>(depth.size());
    args.n_sources = static_cast<std::int64_t>(sources.size());
    args.side = side, args.step = 2;
    return args;
  }

  Scene scene;
  std::vector<float> grey, depth, normal;
  std::vector<std::int64_t> references, at, sources;
};

void run(Check& check, const std::string& name, const Pixels& p, int side) {
  const auto n = static_cast<std::int64_t>(p.depth.size()), n_scores = n * p.scene.n_views;
  PatchNccArgs<float> here = p.arguments(side), there = here;
  here.views = p.scene.here(), here.images = p.grey.data(), here.depth = p.depth.data();
  here.normal = p.normal.data(), here.references = p.references.data(), here.pixels = p.at.data();
  here.sources = p.sources.data();
  Random random(12);
  const auto seed = random.uniform(n_scores, -1, 1);
  std::vector<float> scores(static_cast<std::size_t>(n_scores)), to_depth(p.depth.size()), to_normal(p.normal.size());
  uner3d::cpu::patch_ncc_forward(here, scores.data(), 1);
  uner3d::cpu::patch_ncc_backward(here, {seed.data(), to_depth.data(), to_normal.data()}, 1);

  const OnDevice<float> K(p.scene.K), pose(p.scene.cam_from_world), grey(p.grey), depth(p.depth), normal(p.normal),
      seed_there(seed), scores_there(n_scores), depth_there(n), normal_there(3 * n);
  const OnDevice<std::int64_t> references(p.references), at(p.at), sources(p.sources);
  const Scratch scratch(uner3d::cuda::patch_ncc_scratch(p.scene.n_views, p.scene.n_views));
  there.views = p.scene.views(K.get(), pose.get()), there.images = grey.get(), there.depth = depth.get();
  there.normal = normal.get(), there.references = references.get(), there.pixels = at.get();
  there.sources = sources.get();
  uner3d::cuda::patch_ncc_forward(there, scores_there.get(), scratch.get(), kDevice, stream());
  check.close(name + " scores", scores_there.read(), scores, 1e-3, 1e-3);
  uner3d::cuda::patch_ncc_backward(there, {seed_there.get(), depth_there.get(), normal_there.get()}, scratch.get(),
                                   kDevice, stream());
  check.close(name + " grad_depth", depth_there.read(), to_depth, 2e-2, 1e-2);
  check.close(name + " grad_normal", normal_there.read(), to_normal, 2e-2, 1e-2);
}

const Register registered("patch_ncc", [](Check& check) {
  run(check, "patch_ncc", Pixels(4, 19, 23, 70), 5);
  run(check, "patch_ncc of many sources", Pixels(11, 12, 14, 40), 7);
});

}  // namespace
}  // namespace sanitize
