// Neighbours of queries that come in an order in which those nearby follow each other.
#pragma once

#include "knn_bundle.h"
#include "knn_search.h"
#include "query_order.h"

namespace uner3d::cpu {

// What searches for several queries at once, where something does.
template <bool kPossible, int K>
struct Together {
  Together(const KnnTree<double>&, int) {}
  Together(const KnnTree<float>&, int) {}
};
#if defined(__AVX2__)
template <int K>
struct Together<true, K> : Bundle<K> {
  using Bundle<K>::Bundle;
};
#endif

// Searches for up to kBundle queries at a time. Those that follow each other should lie close together; answers do not
// depend on it.
template <class T, int K>
class NearbySearcher {
 public:
  using Key = core::Key<T>;

  NearbySearcher(const KnnTree<T>& tree, int k, T radius)
      : k_(k), limit_(core::limit_key<T>(radius * radius)), one_(tree, k, radius), together_(tree, k) {}

  // Finds the neighbours of n queries (3,), 1 <= n <= kBundle.
  void operator()(const T* const* queries, int n) {
    for (int first = 0; first < n;) first += find_some(queries, first, n);
  }

  // Of the neighbours of query number `lane`, ascending.
  int count(int lane) const { return counts_[lane]; }
  T dist2(int lane, int i) const { return core::key_dist2<T>(keys_[lane][i]); }
  std::int32_t index(int lane, int i) const { return core::key_index<T>(keys_[lane][i]); }

 private:
#if defined(__AVX2__)
  static constexpr bool kTogether = std::is_same_v<T, float> && K <= 16;
#else
  static constexpr bool kTogether = false;
#endif
  // Squared distance of the k-th neighbour, relative to the largest among the last eight, within which the next eight
  // are expected to have theirs. A larger one finds more leaves, a smaller one leaves more queries to be looked up
  // alone.
  static constexpr T kReach2 = T(2);
  static constexpr T kSpread2 = T(16);      // the longest side of a bundle squared, relative to that
  static constexpr int kLeastTogether = 2;  // queries that are worth a bundle

  int find_some(const T* const* queries, int first, int n) {
    const int count = find_together(queries, first, n);
    if (count > 0) return count;
    find_alone(first, queries[first]);
    last_worst2_ = counts_[first] == k_ ? core::key_dist2<T>(keys_[first][k_ - 1]) : T(-1);
    return 1;
  }

  void find_alone(int lane, const T* query) {
    counts_[lane] = one_(query);
    for (int i = 0; i < counts_[lane]; ++i) keys_[lane][i] = one_.key(i);
  }

  int find_together(const T* const* queries, int first, int n) {
    if constexpr (!kTogether) {
      return 0;
    } else {
      if (last_worst2_ < T(0)) return 0;
      const T reach2 = last_worst2_ * kReach2;
      const int count = together_.set(queries + first, n - first, kSpread2 * reach2);
      if (count < kLeastTogether) return 0;
      const Key limit = std::min(limit_, core::limit_key<T>(reach2));
      if (!together_.find(limit)) return 0;
      T worst2 = T(0);
      for (int i = 0; i < count; ++i) {
        const int lane = first + i;
        if (core::key_index<T>(together_.key(i, k_ - 1)) != core::kNoIndex) {
          counts_[lane] = k_;
          for (int j = 0; j < k_; ++j) keys_[lane][j] = together_.key(i, j);
        } else if (limit < limit_) {
          find_alone(lane, queries[lane]);
        } else {
          int found = 0;
          for (; core::key_index<T>(together_.key(i, found)) != core::kNoIndex; ++found)
            keys_[lane][found] = together_.key(i, found);
          counts_[lane] = found;
        }
        worst2 = counts_[lane] == k_ ? std::max(worst2, core::key_dist2<T>(keys_[lane][k_ - 1])) : worst2;
      }
      last_worst2_ = worst2;
      return count;
    }
  }

  int k_;
  Key limit_;
  Searcher<T, K> one_;
  Together<kTogether, K> together_;
  T last_worst2_ = T(-1);  // of the last queries; negative where they have fewer than k neighbours
  int counts_[kBundle];
  Key keys_[kBundle][K];
};

// Calls use(i, row, search, lane) with the neighbours of each of the sorted queries begin..end; `row` is that of the
// caller's order, in which the rows of sorted queries are scattered, so fetch(row) comes a bundle earlier. Args: of
// knn or idw.
template <int K, class Args, class T, class Fetch, class Use>
void for_neighbours(const Args& a, const QueryOrder<T>& order, std::int64_t base, std::int64_t begin, std::int64_t end,
                    const Fetch& fetch, const Use& use) {
  NearbySearcher<T, K> search(a.tree, a.k, a.radius);
  const T* queries[kBundle];
  for (std::int64_t i = begin; i < end; i += kBundle) {
    for (std::int64_t next = i + kBundle; next < std::min(i + 2 * kBundle, end); ++next) {
      const std::int64_t row = base + order[next];
      __builtin_prefetch(a.queries + 3 * row);
      fetch(row);
    }
    const int count = static_cast<int>(std::min<std::int64_t>(kBundle, end - i));
    for (int lane = 0; lane < count; ++lane) queries[lane] = a.queries + 3 * (base + order[i + lane]);
    search(queries, count);
    for (int lane = 0; lane < count; ++lane) use(i + lane, base + order[i + lane], search, lane);
  }
}

}  // namespace uner3d::cpu
