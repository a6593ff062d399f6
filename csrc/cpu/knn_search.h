// Depth-first search of the implicit 16-ary tree for one query after another.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "../ops/knn.h"
#include "best_k.h"

namespace uner3d::cpu {

// Bit j: value[j] <= bound.
template <class T>
inline __attribute__((always_inline)) unsigned lanes_at_most(const T* value, T bound) {
  unsigned mask = 0;
  for (int j = 0; j < kWidth; ++j) mask |= static_cast<unsigned>(value[j] <= bound) << j;
  return mask;
}

#if defined(__AVX512F__)
template <>
inline __attribute__((always_inline)) unsigned lanes_at_most<float>(const float* value, float bound) {
  return _mm512_cmp_ps_mask(_mm512_load_ps(value), _mm512_set1_ps(bound), _CMP_LE_OQ);
}
#elif defined(__x86_64__)
template <>
inline __attribute__((always_inline)) unsigned lanes_at_most<float>(const float* value, float bound) {
  const __m128 most = _mm_set1_ps(bound);
  unsigned mask = 0;
  for (int j = 0; j < kWidth; j += 4)
    mask |= static_cast<unsigned>(_mm_movemask_ps(_mm_cmple_ps(_mm_load_ps(value + j), most))) << j;
  return mask;
}
#endif

// From query to query the search keeps only what bounds the next answer. It speeds up runs of nearby queries and never
// changes an answer.
template <class T, int K>
class Searcher {
 public:
  using Key = core::Key<T>;

  Searcher(const KnnTree<T>& tree, int k, T radius)
      : tree_(tree), levels_(knn_levels(tree.n)), k_(k), limit_(core::limit_key<T>(radius * radius)) {}

  // Finds the neighbours of q (3,), ascending; returns how many there are.
  int operator()(const T* q) {
    best_.reset(k_, std::min(limit_, bound_from_last(q)));
    if (levels_.n_levels > 0) descend(q);
    n_found_ = 0;
    while (n_found_ < k_ && core::key_index<T>(best_[n_found_]) != core::kNoIndex) ++n_found_;
    std::copy(q, q + 3, last_);
    last_worst2_ = best_.worst_dist2();
    return n_found_;
  }

  Key key(int i) const { return best_[i]; }

 private:
  struct Entry {
    Key key;             // squared distance to the box, lowest index in it
    std::int32_t node;   // within its level
    std::int32_t level;  // -1: a leaf
  };

  // The last query's k neighbours are within |q - last| + (its k-th distance) of q. The factor covers the rounding of
  // both sides; lengths so short that their squares lose digits are left alone.
  Key bound_from_last(const T* q) const {
    using Limits = std::numeric_limits<T>;
    if (n_found_ < k_) return limit_;
    const T moved2 = core::distance2(q[0] - last_[0], q[1] - last_[1], q[2] - last_[2]);
    const T reach = std::sqrt(moved2) + std::sqrt(last_worst2_);
    const T bound = reach * reach * (T(1) + T(64) * Limits::epsilon());
    return bound > Limits::min() / Limits::epsilon() ? core::limit_key<T>(bound) : limit_;
  }

  void descend(const T* q) {
    Entry stack[kMaxLevels * kWidth];
    int top = 0;
    stack[top++] = {0, 0, levels_.n_levels - 1};
    while (top > 0) {
      const Entry entry = stack[--top];
      if (!(entry.key < best_.worst())) continue;
      if (entry.level < 0)
        scan_leaf(q, entry.node);
      else
        top = open_group(q, entry, stack, top);
    }
  }

  void scan_leaf(const T* q, std::int64_t leaf) {
    const T* x = tree_.leaves + leaf * 3 * kWidth;
    const std::int32_t* order = tree_.order + leaf * kWidth;
    alignas(64) T d2[kWidth];
    for (int j = 0; j < kWidth; ++j)
      d2[j] = core::distance2(x[j] - q[0], x[kWidth + j] - q[1], x[2 * kWidth + j] - q[2]);
    for (unsigned mask = lanes_at_most(d2, best_.worst_dist2()); mask != 0; mask &= mask - 1) {
      const int j = __builtin_ctz(mask);
      best_.insert(core::make_key<T>(d2[j], order[j]));
    }
  }

  // Pushes the children that can still matter, nearest on top; returns the new top.
  int open_group(const T* q, const Entry& entry, Entry* stack, int top) {
    const std::int64_t group = levels_.first[entry.level] + entry.node;
    const T* b = tree_.boxes + group * 6 * kWidth;
    const std::int32_t* lowest = tree_.lowest + group * kWidth;
    alignas(64) T d2[kWidth];
    for (int j = 0; j < kWidth; ++j)
      d2[j] = core::box_distance2(q, b[j], b[kWidth + j], b[2 * kWidth + j], b[3 * kWidth + j], b[4 * kWidth + j],
                                  b[5 * kWidth + j]);
    const int bottom = top;
    for (unsigned mask = lanes_at_most(d2, best_.worst_dist2()); mask != 0; mask &= mask - 1) {
      const int j = __builtin_ctz(mask);
      const Key key = core::make_key<T>(d2[j], lowest[j]);
      int slot = top++;
      for (; slot > bottom && stack[slot - 1].key < key; --slot) stack[slot] = stack[slot - 1];
      stack[slot] = {key, entry.node * kWidth + j, entry.level - 1};
    }
    return top;
  }

  KnnTree<T> tree_;
  KnnLevels levels_;
  int k_;
  Key limit_;
  int n_found_ = 0;  // by the last query
  T last_[3] = {}, last_worst2_ = T(0);
  BestK<T, K> best_;
};

// Calls body with the smallest compiled capacity for k, as an integral constant.
template <class Body>
void with_capacity(int k, const Body& body) {
  if (k <= 1) return body(std::integral_constant<int, 1>{});
  if (k <= 8) return body(std::integral_constant<int, 8>{});
  if (k <= 16) return body(std::integral_constant<int, 16>{});
  if (k <= 32) return body(std::integral_constant<int, 32>{});
  return body(std::integral_constant<int, kMaxNeighbours>{});
}

}  // namespace uner3d::cpu
