// Kernels over points and rays.
#include <algorithm>
#include <limits>

#include "../../../csrc/ops/composite.h"
#include "../../../csrc/ops/density_grid.h"
#include "../../../csrc/ops/idw.h"
#include "../../../csrc/ops/positional_encoding.h"
#include "../../../csrc/ops/ray_edges.h"
#include "../../../csrc/ops/sample_voxels.h"
#include "check.h"

namespace uner3d::threads {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t kPoints = 20'000, kQueries = 15'000;
constexpr int kNeighbours = 8;

Values encode(int n_threads) {
  const Values x = uniform(3 * kPoints, -2, 2, 1);
  Values out(x.size() * 21), grad = uniform(static_cast<std::int64_t>(out.size()), -1, 1, 2), grad_x(x.size());
  PositionalEncodingArgs<float> args{x.data(), out.data(), kPoints, 3, 10, true, {}};
  PositionalEncodingGradArgs<float> grads{x.data(), grad.data(), grad_x.data(), kPoints, 3, 10, true, {}};
  std::fill_n(args.weights, kMaxOctaves, 1.0f);
  std::fill_n(grads.weights, kMaxOctaves, 1.0f);
  cpu::positional_encoding_forward(args, n_threads);
  cpu::positional_encoding_backward(grads, n_threads);
  return joined({out, grad_x});
}

Values render(int n_threads) {
  constexpr std::int64_t kRays = 1'000, kSamples = 40, kAll = kRays * kSamples;
  const Values sigma = uniform(kAll, 0, 3, 3), colour = uniform(3 * kAll, 0, 1, 4);
  Values edges = uniform(kRays * (kSamples + 1), 1, 3, 5);
  for (std::int64_t r = 0; r < kRays; ++r)
    std::sort(edges.begin() + r * (kSamples + 1), edges.begin() + (r + 1) * (kSamples + 1));
  const CompositeSamples<float> in{sigma.data(), colour.data(), edges.data(), nullptr, kRays, kSamples, 3};
  Values rgb(3 * kRays), depth(kRays), opacity(kRays), weights(kAll);
  cpu::composite_forward(CompositeArgs<float>{in, rgb.data(), depth.data(), opacity.data(), weights.data()}, n_threads);
  const Values grad = uniform(3 * kRays, -1, 1, 6), grad_weights = uniform(kAll, -1, 1, 7);
  Values grad_sigma(kAll), grad_colour(3 * kAll), grad_edges(edges.size());
  cpu::composite_backward(
      CompositeGradArgs<float>{in, grad.data(), grad.data(), grad.data() + kRays, grad_weights.data(),
                               grad_sigma.data(), grad_colour.data(), grad_edges.data(), weights.data()},
      n_threads);
  return joined({rgb, depth, opacity, weights, grad_sigma, grad_colour, grad_edges});
}

struct Tree {
  Values leaves, boxes;
  std::vector<std::int32_t> order, lowest;

  Tree(const Values& points, int n_threads) {
    const auto n_leaves = static_cast<std::size_t>(ceil_div(kPoints, kWidth));
    const KnnLevels levels = knn_levels(kPoints);
    const auto n_groups = static_cast<std::size_t>(levels.first[levels.n_levels]);
    leaves.resize(n_leaves * 3 * kWidth), order.resize(n_leaves * kWidth);
    boxes.resize(n_groups * 6 * kWidth), lowest.resize(n_groups * kWidth);
    cpu::knn_build(
        KnnBuildArgs<float>{points.data(), leaves.data(), order.data(), boxes.data(), lowest.data(), kPoints},
        n_threads);
  }
  KnnTree<float> view(const Values& points) const {
    return {points.data(), leaves.data(), order.data(), boxes.data(), lowest.data(), kPoints};
  }
};

Values search(int n_threads) {
  const Values points = uniform(3 * kPoints, -1, 1, 8), queries = uniform(3 * kQueries, -1, 1, 9);
  const Tree tree(points, n_threads);
  Values dist2(kQueries * kNeighbours), grad = uniform(kQueries * kNeighbours, -1, 1, 10);
  std::vector<std::int64_t> index(dist2.size());
  cpu::knn_forward(
      KnnArgs<float>{tree.view(points), queries.data(), dist2.data(), index.data(), kQueries, kNeighbours, kInfinity},
      n_threads);
  Values grad_points(points.size()), grad_queries(queries.size());
  cpu::knn_backward(KnnGradArgs<float>{points.data(), queries.data(), index.data(), grad.data(), grad_points.data(),
                                       grad_queries.data(), kPoints, kQueries, kNeighbours},
                    n_threads);
  return joined({tree.leaves, dist2, Values(index.begin(), index.end()), grad_points, grad_queries});
}

Values interpolate(int n_threads) {
  const Values points = uniform(3 * kPoints, -1, 1, 8), queries = uniform(3 * kQueries, -1, 1, 9);
  const Values values = uniform(3 * kPoints, 0, 1, 11), weights = uniform(kPoints, 0.5f, 1, 12);
  const Tree tree(points, n_threads);
  const IdwArgs<float> args{tree.view(points), values.data(), queries.data(), weights.data(),
                            nullptr,           nullptr,       kQueries,       3,
                            kNeighbours,       2.0f,          1e-6f,          kInfinity};
  Values out(3 * kQueries), grad = uniform(3 * kQueries, -1, 1, 13);
  Values to_values(values.size()), to_weights(weights.size()), to_queries(queries.size()), to_points(points.size());
  cpu::idw_forward(args, out.data(), n_threads);
  cpu::idw_backward(args, grad.data(),
                    IdwGrads<float>{to_values.data(), to_weights.data(), to_queries.data(), to_points.data()},
                    n_threads);
  return joined({out, to_values, to_weights, to_queries, to_points});
}

Values follow(int n_threads) {
  constexpr std::int64_t kSide = 20;
  const Values points = uniform(3 * kPoints, -1.2f, 1.2f, 14), sigma = uniform(kPoints, 0, 9, 15);
  Values values = uniform(kSide * kSide * kSide, 0, 9, 16), seen(values.size(), -1);
  std::vector<std::int64_t> cells(kPoints);
  const GridBox<float> box{{1, 1, 1}, kSide, false};
  cpu::grid_cells(GridCellsArgs<float>{box, points.data(), cells.data(), kPoints}, n_threads);
  cpu::grid_update(
      GridUpdateArgs<float>{box, points.data(), sigma.data(), nullptr, values.data(), seen.data(), kPoints, 0.3f},
      n_threads);
  return joined({values, seen, Values(cells.begin(), cells.end())});
}

Values walk(int n_threads) {
  constexpr std::int64_t kSide = 20, kRays = 1'000, kSteps = 70, kSamples = 24;
  const Values values = uniform(kSide * kSide * kSide, 0, 9, 17), origins = uniform(3 * kRays, -1, 1, 18),
               directions = uniform(3 * kRays, -1, 1, 19), jitter = uniform(kRays * (kSamples + 1), 0, 1, 20);
  Values knots, edges(jitter.size());
  for (std::int64_t i = 0; i < kRays * (kSteps + 1); ++i) knots.push_back(0.02f * static_cast<float>(i % (kSteps + 1)));
  cpu::ray_edges(RayEdgesArgs<float>{{{2, 2, 2}, kSide, true},
                                     values.data(),
                                     knots.data(),
                                     origins.data(),
                                     directions.data(),
                                     jitter.data(),
                                     edges.data(),
                                     kRays,
                                     kSteps,
                                     kSamples,
                                     0.3f},
                 n_threads);
  return edges;
}

Values read_voxels(int n_threads) {
  constexpr std::int64_t kSide = 20;
  const Values points = uniform(3 * kPoints, -1.2f, 1.2f, 21), values = uniform(kSide * kSide * kSide, -1, 1, 22),
               grad = uniform(kPoints, -1, 1, 23);
  Values out(kPoints), to_values(values.size());
  const VoxelLattice<float> lattice{{1, 1, 1}, kSide, points.data(), kPoints};
  cpu::sample_voxels_forward(SampleVoxelsArgs<float>{lattice, values.data(), out.data()}, n_threads);
  cpu::sample_voxels_backward(SampleVoxelsGradArgs<float>{lattice, grad.data(), to_values.data()}, n_threads);
  return joined({out, to_values});
}

}  // namespace

void check_points() {
  check("positional_encoding", encode);
  check("composite", render);
  check("knn", search);
  check("idw", interpolate);
  check("grid_update", follow);
  check("ray_edges", walk);
  check("sample_voxels", read_voxels);
}

}  // namespace uner3d::threads
