#include "../../../csrc/ops/knn.h"

#include "check.h"
#include "memory.h"
#include "trees.h"

namespace sanitize {
namespace {

using uner3d::KnnArgs;
using uner3d::KnnGradArgs;

void run_knn(Check& check, const std::string& name, std::int64_t n, std::int64_t m, int k, float radius) {
  Cloud cloud(n, m, 2);
  const HostTree here(cloud.points);
  const DeviceTree there(cloud.points);
  const auto n_found = static_cast<std::size_t>(m * k);
  std::vector<float> dist2(n_found), grad_points(cloud.points.size()), grad_queries(cloud.queries.size());
  std::vector<std::int64_t> index(n_found);
  uner3d::cpu::knn_forward(KnnArgs<float>{here.get(), cloud.queries.data(), dist2.data(), index.data(), m, k, radius},
                           1);
  const auto grad = cloud.random.uniform(m * k, -1, 1);
  uner3d::cpu::knn_backward(KnnGradArgs<float>{cloud.points.data(), cloud.queries.data(), index.data(), grad.data(),
                                               grad_points.data(), grad_queries.data(), n, m, k},
                            1);
  const OnDevice<float> queries(cloud.queries), dist2_there(m * k), grad_there(grad);
  const OnDevice<std::int64_t> index_there(m * k);
  const Scratch scratch(uner3d::cuda::knn_forward_scratch(m, kDevice));
  uner3d::cuda::knn_forward({there.get(), queries.get(), dist2_there.get(), index_there.get(), m, k, radius},
                            scratch.get(), kDevice, stream());
  check.equal(name + " dist2", dist2_there.read(), dist2);  // the same bits: core/knn.h
  check.equal(name + " index", index_there.read(), index);
  const Scratch in_order(uner3d::cuda::knn_backward_scratch(m, k, kDevice));
  for (bool fixed_order : {false, true}) {
    OnDevice<float> to_points(3 * n), to_queries(3 * m);
    uner3d::cuda::knn_backward({there.points.get(), queries.get(), index_there.get(), grad_there.get(),
                                to_points.zero().get(), to_queries.get(), n, m, k},
                               fixed_order ? in_order.get() : nullptr, kDevice, stream());
    const std::string label = name + (fixed_order ? " in order, " : " by atomics, ");
    check.close(label + "grad_points", to_points.read(), grad_points, 1e-4, 1e-4);
    check.close(label + "grad_queries", to_queries.read(), grad_queries, 1e-4, 1e-4);
  }
}

const Register knn_registered("knn", [](Check& check) {
  run_knn(check, "knn", 5000, 700, 8, kFar);
  run_knn(check, "knn within a radius", 900, 300, 20, 0.15f);
  run_knn(check, "knn of fewer points than k", 5, 33, 8, kFar);
});

}  // namespace
}  // namespace sanitize
