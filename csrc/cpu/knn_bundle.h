// Depth-first search of the implicit 16-ary tree for eight queries that lie close together: the tree is walked once,
// with the box of all of them. For processors with AVX2 or AVX-512.
#pragma once

#include <algorithm>

#include "knn_search.h"
#include "rank_lanes.h"

#if defined(__AVX2__)
namespace uner3d::cpu {

// Around the queries.
struct QueryBox {
  float low[3], high[3];

  float longest_side() const { return std::max(std::max(high[0] - low[0], high[1] - low[1]), high[2] - low[2]); }

  // Squared distances (kWidth) to boxes with corners (3, kWidth): core::box_distance2 with a box for the query.
  // Rounding is monotonic, so no query in this box is computed to be nearer to a point in that one.
  void gaps(const float* lows, const float* highs, float* dist2) const {
    for (int j = 0; j < kWidth; j += kBundle) {
      __m256 along[3];
      for (int d = 0; d < 3; ++d) {
        const __m256 above = _mm256_sub_ps(_mm256_loadu_ps(lows + d * kWidth + j), _mm256_set1_ps(high[d])),
                     below = _mm256_sub_ps(_mm256_set1_ps(low[d]), _mm256_loadu_ps(highs + d * kWidth + j)),
                     gap = _mm256_max_ps(_mm256_max_ps(above, below), _mm256_setzero_ps());
        along[d] = _mm256_mul_ps(gap, gap);
      }
      _mm256_store_ps(dist2 + j, _mm256_add_ps(_mm256_add_ps(along[0], along[1]), along[2]));
    }
  }
};

// Depth-first search for eight queries that lie close together. Nearest leaves come first.
template <int K>
class Bundle {
 public:
  Bundle(const KnnTree<float>& tree, int k) : tree_(tree), levels_(knn_levels(tree.n)), k_(k) {}

  // Takes as many of n queries as lie in a box whose longest side squared is at most `side2`; returns how many. The
  // last is repeated in lanes without one.
  int set(const float* const* queries, int n, float side2) {
    take(queries, std::min(n, kBundle));
    if (is_within(side2)) return std::min(n, kBundle);
    int count = 1;
    for (take(queries, 1); count < n; ++count) {
      take(queries, count + 1);
      if (!is_within(side2)) break;
    }
    take(queries, count);
    return count;
  }

  // The neighbours below `limit`; false where so many leaves lie near the queries that they are better looked for one
  // by one.
  bool find(core::Key<float> limit) {
    const double none = rank_of_key(limit);
    for (int i = 0; i < K; ++i) std::fill_n(rows_[i], kBundle, i < K - k_ ? 0.0 : none);
    update_worst();
    n_leaves_ = 0;
    if (levels_.n_levels > 0) visit(levels_.n_levels - 1, 0);
    return n_leaves_ <= kMostLeaves;
  }

  core::Key<float> key(int lane, int i) const { return key_of_rank(rows_[K - k_ + i][kRankLane[lane]]); }

 private:
  static constexpr int kMostLeaves = 96;

  void take(const float* const* queries, int n) {
    for (int lane = 0; lane < kBundle; ++lane) {
      const float* q = queries[std::min(lane, n - 1)];
      q_[0][lane] = q[0], q_[1][lane] = q[1], q_[2][lane] = q[2];
    }
    for (int d = 0; d < 3; ++d) least_and_most(_mm256_load_ps(q_[d]), box_.low[d], box_.high[d]);
  }

  bool is_within(float side2) const {
    const float side = box_.longest_side();
    return side * side <= side2;
  }

  void update_worst() {
    const double* last = rows_[K - 1];
    worst_ = key_of_rank(largest_rank(last));
    worst_dist2_ = core::key_dist2<float>(worst_);
  }

  // Distances are worked out for the points alone that may matter to any query.
  void scan_leaf(std::int64_t leaf) {
    const float* x = tree_.leaves + leaf * 3 * kWidth;
    const std::int32_t* order = tree_.order + leaf * kWidth;
    alignas(64) float d2[kWidth];
    box_.gaps(x, x, d2);
    unsigned mask = lanes_at_most(d2, worst_dist2_);
    if (mask == 0) return;
    Ranks row[K];
    for (int i = 0; i < K; ++i) row[i] = Ranks::load(rows_[i]);
    const __m256 qx = _mm256_load_ps(q_[0]), qy = _mm256_load_ps(q_[1]), qz = _mm256_load_ps(q_[2]);
    const __m256i bias = _mm256_set1_epi32(kRankBias), bound = row[K - 1].distances();
    // First those that any query can use, without a branch on it, then all of them in turn.
    alignas(32) std::int32_t distances[kWidth][kBundle], index[kWidth];
    int n = 0;
    for (; mask != 0; mask &= mask - 1) {
      const int j = __builtin_ctz(mask);
      const __m256 dx = _mm256_sub_ps(_mm256_set1_ps(x[j]), qx), dy = _mm256_sub_ps(_mm256_set1_ps(x[kWidth + j]), qy),
                   dz = _mm256_sub_ps(_mm256_set1_ps(x[2 * kWidth + j]), qz);
      const __m256 dist2 =
          _mm256_add_ps(_mm256_add_ps(_mm256_mul_ps(dx, dx), _mm256_mul_ps(dy, dy)), _mm256_mul_ps(dz, dz));
      const __m256i biased = _mm256_add_epi32(_mm256_castps_si256(dist2), bias);
      _mm256_store_si256(reinterpret_cast<__m256i*>(distances[n]), biased);
      index[n] = order[j];
      n += _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(biased, bound))) != 0xff;
    }
    for (int i = 0; i < n; ++i)
      insert_ranks<K>(row, Ranks::make(_mm256_load_si256(reinterpret_cast<const __m256i*>(distances[i])), index[i]));
    for (int i = 0; i < K; ++i) row[i].store(rows_[i]);
    update_worst();
  }

  // The children of a group that can matter: the nearest first, the others as they come, since by then the bound is
  // close to the answer.
  void visit(int level, std::int64_t node) {
    const std::int64_t group = levels_.first[level] + node;
    const float* b = tree_.boxes + group * 6 * kWidth;
    const std::int32_t* lowest = tree_.lowest + group * kWidth;
    alignas(64) float d2[kWidth];
    box_.gaps(b, b + 3 * kWidth, d2);
    unsigned mask = lanes_at_most(d2, worst_dist2_);
    if (mask == 0) return;
    int j = __builtin_ctz(mask & (mask - 1) ? lanes_at_most(d2, least_of_row(d2)) : mask);
    for (;;) {
      if (core::make_key<float>(d2[j], lowest[j]) < worst_) {
        if (level > 0)
          visit(level - 1, node * kWidth + j);
        else if (++n_leaves_ <= kMostLeaves)
          scan_leaf(node * kWidth + j);
      }
      mask &= ~(1u << j);
      if (mask == 0 || n_leaves_ > kMostLeaves) return;
      j = __builtin_ctz(mask);
    }
  }

  KnnTree<float> tree_;
  KnnLevels levels_;
  int k_, n_leaves_ = 0;
  QueryBox box_;
  core::Key<float> worst_ = 0;  // of the eight
  float worst_dist2_ = 0;
  alignas(64) float q_[3][kBundle];
  alignas(64) double rows_[K][kBundle];
};

}  // namespace uner3d::cpu
#endif
