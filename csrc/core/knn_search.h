// Depth-first search of the implicit 16-ary tree by one thread, without a stack in memory: children that are still to
// be visited are 16 bits a level, and a node's ancestors follow from its number.
//
// The search goes straight down to a leaf near the query, then climbs from it; each level is opened when the climb gets
// there, when the bound is already close to the answer, so that the order among children matters little.
#pragma once

#include <cstdint>

#include "knn.h"

namespace uner3d::core {

// Four neighbouring elements, 16-byte aligned.
template <class T>
struct alignas(16) Four {
  T v[4];
};

template <class T>
UNER3D_HD Four<T> load4(const T* p) {
  return *reinterpret_cast<const Four<T>*>(p);
}

UNER3D_HD int lowest_bit(unsigned mask) {
#if defined(__CUDA_ARCH__)
  return __ffs(static_cast<int>(mask)) - 1;
#else
  return __builtin_ctz(mask);
#endif
}

// The k <= K best so far as a sorted row of keys, in registers. The K - k slots in front stay at the lowest rank, so
// that the worst of the k is always the last slot.
template <int K>
class NearestK {
 public:
  UNER3D_HD void reset(int k, Key<float> limit) {
    UNER3D_UNROLL
    for (int i = 0; i < K; ++i) row_[i] = i < K - k ? -1 : limit;
  }

  UNER3D_HD Key<float> worst() const { return row_[K - 1]; }
  UNER3D_HD Key<float> operator[](int slot) const { return row_[slot]; }

  UNER3D_HD void insert(Key<float> x) {
    UNER3D_UNROLL
    for (int i = K - 1; i > 0; --i) row_[i] = x < row_[i - 1] ? row_[i - 1] : (x < row_[i] ? x : row_[i]);
    row_[0] = x < row_[0] ? x : row_[0];
  }

 private:
  Key<float> row_[K];
};

// Whether a box at dist2 can hold something better than `worst`: *lowest is the lowest index in it, asked for only
// where the distances are equal.
UNER3D_HD bool can_matter(float dist2, const std::int32_t* lowest, Key<float> worst) {
  const float bound = key_dist2<float>(worst);
  return dist2 < bound || (dist2 == bound && *lowest < key_index<float>(worst));
}

// Tree has leaves, order, boxes and lowest as KnnTree (ops/knn.h); Levels is KnnLevels.
template <int K, class Tree, class Levels>
class TreeSearch {
 public:
  // At least one level; q (3,) finite.
  UNER3D_HD TreeSearch(const Tree& tree, const Levels& levels, const float* q)
      : tree_(tree), levels_(levels), q_{q[0], q[1], q[2]} {}

  UNER3D_HD void run(NearestK<K>& best) {
    node_ = nearest_leaf();
    std::int32_t leaf = node_;
    do {
      scan_leaf(leaf, best);
      leaf = next_leaf(best.worst());
    } while (leaf >= 0);
  }

 private:
  UNER3D_HD std::int64_t group_at(int level, std::int32_t node) const { return levels_.first[level] + node; }

  // Distances of children j .. j + 3.
  UNER3D_HD void box_distances(const float* box, float* dist2) const {
    const Four<float> x0 = load4(box), y0 = load4(box + kWidth), z0 = load4(box + 2 * kWidth);
    const Four<float> x1 = load4(box + 3 * kWidth), y1 = load4(box + 4 * kWidth), z1 = load4(box + 5 * kWidth);
    UNER3D_UNROLL
    for (int i = 0; i < 4; ++i) dist2[i] = box_distance2(q_, x0.v[i], y0.v[i], z0.v[i], x1.v[i], y1.v[i], z1.v[i]);
  }

  UNER3D_HD std::int32_t nearest_leaf() const {
    std::int32_t node = 0;
    UNER3D_ROLL
    for (int level = levels_.n_levels - 1; level >= 0; --level) {
      const float* boxes = tree_.boxes + group_at(level, node) * (6 * kWidth);
      float least = kInfinity<float>;
      int child = 0;  // exists in every group
      UNER3D_ROLL
      for (int j = 0; j < kWidth; j += 4) {
        float dist2[4];
        box_distances(boxes + j, dist2);
        UNER3D_UNROLL
        for (int i = 0; i < 4; ++i)
          if (dist2[i] < least) least = dist2[i], child = j + i;
      }
      node = node * kWidth + child;
    }
    return node;
  }

  UNER3D_HD void scan_leaf(std::int32_t leaf, NearestK<K>& best) const {
    const float* x = tree_.leaves + static_cast<std::int64_t>(leaf) * (3 * kWidth);
    const std::int32_t* order = tree_.order + static_cast<std::int64_t>(leaf) * kWidth;
    UNER3D_ROLL
    for (int j = 0; j < kWidth; j += 4) {
      const Four<float> px = load4(x + j), py = load4(x + kWidth + j), pz = load4(x + 2 * kWidth + j);
      const float bound = key_dist2<float>(best.worst());
      float dist2[4];
      bool any = false;
      UNER3D_UNROLL
      for (int i = 0; i < 4; ++i) {
        dist2[i] = distance2(px.v[i] - q_[0], py.v[i] - q_[1], pz.v[i] - q_[2]);
        any |= dist2[i] <= bound;
      }
      if (!any) continue;
      const Four<std::int32_t> index = load4(order + j);
      UNER3D_UNROLL
      for (int i = 0; i < 4; ++i) {
        const Key<float> key = make_key(dist2[i], index.v[i]);
        if (key < best.worst()) best.insert(key);
      }
    }
  }

  // Bit j: child j can matter.
  UNER3D_HD unsigned open_group(std::int64_t group, Key<float> worst) const {
    const float* boxes = tree_.boxes + group * (6 * kWidth);
    const std::int32_t* lowest = tree_.lowest + group * kWidth;
    unsigned mask = 0;
    UNER3D_ROLL
    for (int j = 0; j < kWidth; j += 4) {
      float dist2[4];
      box_distances(boxes + j, dist2);
      UNER3D_UNROLL
      for (int i = 0; i < 4; ++i) mask |= can_matter(dist2[i], lowest + j + i, worst) ? 1u << (j + i) : 0u;
    }
    return mask;
  }

  UNER3D_HD bool child_can_matter(std::int64_t group, int child, Key<float> worst) const {
    const float* b = tree_.boxes + group * (6 * kWidth) + child;
    const float dist2 = box_distance2(q_, b[0], b[kWidth], b[2 * kWidth], b[3 * kWidth], b[4 * kWidth], b[5 * kWidth]);
    return can_matter(dist2, tree_.lowest + group * kWidth + child, worst);
  }

  UNER3D_HD unsigned pending(int level) const {
    const std::uint64_t half = level < 4 ? pending_low_ : pending_high_;
    return static_cast<unsigned>(half >> (16 * (level & 3))) & 0xffffu;
  }

  UNER3D_HD void set_pending(int level, unsigned mask) {
    const int shift = 16 * (level & 3);
    const std::uint64_t keep = ~(std::uint64_t(0xffff) << shift), bits = static_cast<std::uint64_t>(mask) << shift;
    if (level < 4)
      pending_low_ = (pending_low_ & keep) | bits;
    else
      pending_high_ = (pending_high_ & keep) | bits;
  }

  // The next leaf that can hold something better than `worst`; -1 where there is none.
  UNER3D_HD std::int32_t next_leaf(Key<float> worst) {
    for (;;) {
      const unsigned mask = level_ < 0 ? 0u : pending(level_);
      unsigned visited = 0;
      if (mask != 0) {
        const int child = lowest_bit(mask);
        set_pending(level_, mask & (mask - 1));
        if (!child_can_matter(group_at(level_, node_), child, worst)) continue;
        if (level_ == 0) return node_ * kWidth + child;
        node_ = node_ * kWidth + child;
        --level_;
      } else {
        if (level_ == levels_.n_levels - 1) return -1;
        visited = 1u << (node_ % kWidth);
        node_ /= kWidth;
        ++level_;
        if (level_ <= top_) continue;
        top_ = level_;
      }
      set_pending(level_, open_group(group_at(level_, node_), worst) & ~visited);
    }
  }

  const Tree& tree_;
  const Levels& levels_;
  const float q_[3];
  std::int32_t node_ = 0;  // within its level; level -1 are the leaves
  int level_ = -1;
  int top_ = -1;  // levels up to this one have been opened on the way up
  std::uint64_t pending_low_ = 0, pending_high_ = 0;
};

}  // namespace uner3d::core
