// What the kernels that search share: one thread a query, neighbours in registers.
#pragma once

#include <type_traits>

#include "../core/knn_search.h"
#include "../core/space_curve.h"
#include "../ops/knn.h"
#include "launch.cuh"

namespace uner3d::cuda {

// Calls body with the smallest compiled capacity for k, as an integral constant.
template <class Body>
void with_capacity(int k, const Body& body) {
  if (k <= 1) return body(std::integral_constant<int, 1>{});
  if (k <= 4) return body(std::integral_constant<int, 4>{});
  if (k <= 8) return body(std::integral_constant<int, 8>{});
  if (k <= 16) return body(std::integral_constant<int, 16>{});
  if (k <= 32) return body(std::integral_constant<int, 32>{});
  return body(std::integral_constant<int, kMaxNeighbours>{});
}

// Leaves in `best`, slots K - k to K, the neighbours below `limit` of q (3,); none where q is not finite.
template <int K>
__device__ __forceinline__ void find_nearest(const KnnTree<float>& tree, const KnnLevels& levels, const float* q, int k,
                                             core::Key<float> limit, core::NearestK<K>& best) {
  best.reset(k, limit);
  if (levels.n_levels == 0 || !core::is_finite3(q)) return;
  core::TreeSearch<K, KnnTree<float>, KnnLevels>(tree, levels, q).run(best);
}

}  // namespace uner3d::cuda
