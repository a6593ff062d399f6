#include "../../../csrc/ops/patch_match.h"

#include "scene.h"

namespace sanitize {
namespace {

using uner3d::PatchMatchArgs;

struct Images {
  Images(std::int64_t n_views, std::int64_t height, std::int64_t width) : scene(n_views, height, width, 0) {
    Random random(9);
    grey = random.uniform(n_views * height * width, 0, 1);
    depth = random.uniform(height * width, 3.3f, 3.7f);
    normal = random.uniform(3 * height * width, -0.3f, 0.3f);
    for (std::size_t i = 2; i < normal.size(); i += 3) normal[i] = -1;
    for (std::size_t i = 0; i < depth.size(); i += 11) depth[i] = 0;  // left out
    for (std::int64_t v = 1; v < n_views; ++v) sources.push_back(v);
  }
  std::int64_t n_pixels() const { return scene.height * scene.width; }

  Scene scene;
  std::vector<float> grey, depth, normal;
  std::vector<std::int64_t> sources;
};

struct Found {
  explicit Found(std::size_t n) : depth(n), normal(3 * n), score(n), chosen(n) {}
  std::vector<float> depth, normal, score;
  std::vector<std::int32_t> chosen;
};

PatchMatchArgs<float> arguments(const Images& images, int side, int n_iterations) {
  PatchMatchArgs<float> args{};
  args.sources = images.sources.data();
  args.n_sources = static_cast<std::int64_t>(images.sources.size());
  args.near = 2, args.far = 6, args.reach = 4, args.least_variance = 6e-5f;
  args.n_best = std::min<int>(3, static_cast<int>(args.n_sources));
  args.side = side, args.step = 2, args.n_iterations = n_iterations, args.seed = 3;
  return args;
}

Found match_here(const Images& images, PatchMatchArgs<float> args) {
  Found found(images.depth.size());
  args.views = images.scene.here(), args.images = images.grey.data();
  args.depth = images.depth.data(), args.normal = images.normal.data();
  args.out_depth = found.depth.data(), args.out_normal = found.normal.data();
  args.score = found.score.data(), args.chosen = found.chosen.data();
  uner3d::cpu::patch_match_forward(args, 1);
  return found;
}

Found match_there(const Images& images, PatchMatchArgs<float> args) {
  const std::int64_t n = images.n_pixels();
  const OnDevice<float> K(images.scene.K), pose(images.scene.cam_from_world), grey(images.grey), depth(images.depth),
      normal(images.normal), out_depth(n), out_normal(3 * n), score(n);
  const OnDevice<std::int32_t> chosen(n);
  const Scratch scratch(uner3d::cuda::patch_match_scratch(n));
  args.views = images.scene.views(K.get(), pose.get()), args.images = grey.get();
  args.depth = depth.get(), args.normal = normal.get();
  args.out_depth = out_depth.get(), args.out_normal = out_normal.get();
  args.score = score.get(), args.chosen = chosen.get();
  uner3d::cuda::patch_match_forward(args, scratch.get(), kDevice, stream());
  Found found(0);
  found.depth = out_depth.read(), found.normal = out_normal.read(), found.score = score.read();
  found.chosen = chosen.read();
  return found;
}

void run(Check& check, const std::string& name, const Images& images, int side) {
  const auto args = arguments(images, side, 0);
  const Found here = match_here(images, args), there = match_there(images, args);
  check.close(name + " depth", there.depth, here.depth, 1e-5, 1e-5);
  check.close(name + " normal", there.normal, here.normal, 1e-5, 1e-5);
  check.close(name + " score", there.score, here.score, 1e-3, 1e-3);
  std::size_t n_other = 0;  // a correlation of nearly 0.5 may fall on either side
  for (std::size_t i = 0; i < here.chosen.size(); ++i) n_other += here.chosen[i] != there.chosen[i];
  check.close(name + " chosen, pixels that differ", {static_cast<float>(n_other)}, {0}, 0, 3);
  // The last bits of two scores decide between planes, so what is found must be good, not the same.
  const auto longer = arguments(images, side, 2);
  const Found before = match_here(images, longer), after = match_there(images, longer);
  double score_here = 0, score_there = 0;
  for (std::size_t i = 0; i < before.score.size(); ++i) {
    score_here += static_cast<double>(before.score[i]) / static_cast<double>(before.score.size());
    score_there += static_cast<double>(after.score[i]) / static_cast<double>(after.score.size());
  }
  check.close(name + " mean score", {static_cast<float>(score_there)}, {static_cast<float>(score_here)}, 0.02, 0);
}

const Register registered("patch_match", [](Check& check) {
  run(check, "patch_match", Images(4, 19, 23), 5);
  run(check, "patch_match of one source, wide windows", Images(2, 12, 14), 7);
});

}  // namespace
}  // namespace sanitize
