// Clouds and their search trees, on the host and on the device.
#pragma once

#include <limits>

#include "../../../csrc/ops/knn.h"
#include "check.h"
#include "memory.h"

namespace sanitize {

using uner3d::KnnBuildArgs;
using uner3d::KnnTree;
using uner3d::kWidth;

constexpr float kFar = std::numeric_limits<float>::infinity();

inline std::int64_t n_slots(std::int64_t n) { return uner3d::ceil_div(n, kWidth) * kWidth; }
inline std::int64_t n_group_slots(std::int64_t n) {
  const auto levels = uner3d::knn_levels(n);
  return levels.first[levels.n_levels] * kWidth;
}

struct HostTree {
  explicit HostTree(const std::vector<float>& p)
      : points(p),
        n(static_cast<std::int64_t>(p.size()) / 3),
        leaves(static_cast<std::size_t>(3 * n_slots(n))),
        boxes(static_cast<std::size_t>(6 * n_group_slots(n))),
        order(static_cast<std::size_t>(n_slots(n))),
        lowest(static_cast<std::size_t>(n_group_slots(n))) {
    uner3d::cpu::knn_build(
        KnnBuildArgs<float>{points.data(), leaves.data(), order.data(), boxes.data(), lowest.data(), n}, 1);
  }
  KnnTree<float> get() const { return {points.data(), leaves.data(), order.data(), boxes.data(), lowest.data(), n}; }

  const std::vector<float>& points;
  std::int64_t n;
  std::vector<float> leaves, boxes;
  std::vector<std::int32_t> order, lowest;
};

struct DeviceTree {
  explicit DeviceTree(const std::vector<float>& p)
      : points(p),
        n(static_cast<std::int64_t>(p.size()) / 3),
        leaves(3 * n_slots(n)),
        boxes(6 * n_group_slots(n)),
        order(n_slots(n)),
        lowest(n_group_slots(n)) {
    const Scratch scratch(uner3d::cuda::knn_build_scratch(n, kDevice));
    uner3d::cuda::knn_build({points.get(), leaves.get(), order.get(), boxes.get(), lowest.get(), n}, scratch.get(),
                            kDevice, stream());
    (void)order.read();  // waits before the scratch memory goes
  }
  KnnTree<float> get() const { return {points.get(), leaves.get(), order.get(), boxes.get(), lowest.get(), n}; }

  OnDevice<float> points;
  std::int64_t n;
  OnDevice<float> leaves, boxes;
  OnDevice<std::int32_t> order, lowest;
};

struct Cloud {
  Cloud(std::int64_t n, std::int64_t m_, std::uint32_t seed) : random(seed), m(m_) {
    points = random.uniform(3 * n, -1, 1);
    queries = random.uniform(3 * m, -1.2f, 1.2f);
  }
  Random random;
  std::int64_t m;
  std::vector<float> points, queries;
};

}  // namespace sanitize
