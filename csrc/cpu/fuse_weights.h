// The weight of a view at a point, as fuse_views takes it from its arguments.
#pragma once

#include <cstdint>
#include <type_traits>

namespace uner3d::cpu {

template <class Args>
auto view_weight(const Args& a, std::int64_t point, std::int64_t view) {
  using T = std::decay_t<decltype(*a.points)>;
  if (!a.view_weights) return T(1);
  const T w = a.view_weights[a.weights_per_point ? point * a.views.n_views + view : view];
  return w > T(0) ? w : T(0);  // negative and NaN count as zero
}

// Whether the result follows the weight: from zero it can only grow.
template <class Args>
bool follows_weight(const Args& a, std::int64_t point, std::int64_t view) {
  return !a.view_weights || a.view_weights[a.weights_per_point ? point * a.views.n_views + view : view] >= 0;
}

}  // namespace uner3d::cpu
