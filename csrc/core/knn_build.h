// What one thread does while many build the implicit tree: keys by which segments are sorted, one comparison of a
// bitonic network (Batcher, Sorting networks and their applications, 1968), boxes of leaves and groups.
//
// Sorting a segment along its widest axis and cutting it into equal runs is a kd-tree with exact medians, whatever the
// distribution. Large segments are cut into up to eight at once, so that few sorts of everything are needed; segments
// of kBlockPoints fit one thread block, which halves them until leaves are left.
#pragma once

#include <cstdint>

#include "knn.h"
#include "space_curve.h"

namespace uner3d::core {

constexpr int kBlockBits = 12;
constexpr int kBlockPoints = 1 << kBlockBits;
constexpr float kInf = kInfinity<float>;
constexpr int kMostCuts = 3;  // halvings at once: more make slabs too thin

// Halvings that lead from n points to segments of at most kBlockPoints.
UNER3D_HD int halvings(std::int64_t n) {
  int count = 0;
  while ((static_cast<std::int64_t>(kBlockPoints) << count) < n) ++count;
  return count;
}

// Halvings of the next sort, where `left` are left: the odd ones come first, where boxes are largest.
UNER3D_HD int next_halvings(int left) { return left % kMostCuts != 0 ? left % kMostCuts : kMostCuts; }

UNER3D_HD int widest_axis(const std::uint32_t* bounds) {
  const float x = half_extent(bounds, 0), y = half_extent(bounds, 1), z = half_extent(bounds, 2);
  return x >= y && x >= z ? 0 : (y >= z ? 1 : 2);
}

// Coordinate of a point as a key; points that are not finite come last.
UNER3D_HD std::uint32_t axis_key(const float* x, int axis) {
  return is_finite3(x) ? ordered_bits(axis == 0 ? x[0] : (axis == 1 ? x[1] : x[2])) : 0xffffffffu;
}

// The key of a point within a block: coordinate above slot, so that no two are equal and duplicates keep their order.
UNER3D_HD std::uint64_t slot_key(std::uint32_t coordinate, int slot) {
  return (static_cast<std::uint64_t>(coordinate) << kBlockBits) | static_cast<std::uint64_t>(slot);
}

UNER3D_HD int key_slot(std::uint64_t key) { return static_cast<int>(key & (kBlockPoints - 1)); }

// Comparison number i (of half the number of keys) at `stride` of the merge of `size` keys: its lower position, and
// whether the smaller key goes there. Runs of `segment` keys end up ascending.
struct Comparison {
  int low;
  bool ascending;
};

UNER3D_HD Comparison bitonic_comparison(int i, int stride, int size, int segment) {
  const int low = 2 * i - (i & (stride - 1));
  return {low, size == segment || (low & size) == 0};
}

UNER3D_HD void compare_exchange(std::uint64_t* keys, const Comparison& at, int stride) {
  const std::uint64_t a = keys[at.low], b = keys[at.low + stride];
  if ((a > b) == at.ascending) keys[at.low] = b, keys[at.low + stride] = a;
}

// Box and lowest index of a node; the empty one is what slots without a child hold.
struct Node {
  float low[3], high[3];
  std::int32_t lowest;
};

UNER3D_HD Node empty_node() { return {{kInf, kInf, kInf}, {-kInf, -kInf, -kInf}, kNoIndex}; }

// Of leaf (3, kWidth) with order (kWidth).
UNER3D_HD Node leaf_node(const float* leaf, const std::int32_t* order) {
  Node node = empty_node();
  for (int j = 0; j < kWidth; ++j) {
    if (order[j] == kNoIndex) continue;
    node.lowest = order[j] < node.lowest ? order[j] : node.lowest;
    UNER3D_UNROLL
    for (int d = 0; d < 3; ++d) {
      const float x = leaf[d * kWidth + j];
      node.low[d] = x < node.low[d] ? x : node.low[d];
      node.high[d] = x > node.high[d] ? x : node.high[d];
    }
  }
  return node;
}

// Of a group with boxes (6, kWidth) and lowest (kWidth).
UNER3D_HD Node group_node(const float* boxes, const std::int32_t* lowest) {
  Node node = empty_node();
  for (int j = 0; j < kWidth; ++j) {
    node.lowest = lowest[j] < node.lowest ? lowest[j] : node.lowest;
    UNER3D_UNROLL
    for (int d = 0; d < 3; ++d) {
      const float low = boxes[d * kWidth + j], high = boxes[(3 + d) * kWidth + j];
      node.low[d] = low < node.low[d] ? low : node.low[d];
      node.high[d] = high > node.high[d] ? high : node.high[d];
    }
  }
  return node;
}

// Stores a node as number i of the children of consecutive groups.
UNER3D_HD void store_node(const Node& node, float* boxes, std::int32_t* lowest, std::int64_t i) {
  float* box = boxes + i / kWidth * (6 * kWidth) + i % kWidth;
  UNER3D_UNROLL
  for (int d = 0; d < 3; ++d) {
    box[d * kWidth] = node.low[d];
    box[(3 + d) * kWidth] = node.high[d];
  }
  lowest[i] = node.lowest;
}

// Coordinates and index of one slot of a leaf.
struct Slot {
  float x[3];
  std::int32_t index;
};

// What slot gets for a point: nothing where it is not finite.
UNER3D_HD Slot make_slot(const float* x, std::int32_t index) {
  if (!is_finite3(x)) return {{kInf, kInf, kInf}, kNoIndex};
  return {{x[0], x[1], x[2]}, index};
}

UNER3D_HD Slot empty_slot() { return {{kInf, kInf, kInf}, kNoIndex}; }

UNER3D_HD Slot load_slot(const float* leaves, const std::int32_t* order, std::int64_t i) {
  const float* leaf = leaves + i / kWidth * (3 * kWidth) + i % kWidth;
  return {{leaf[0], leaf[kWidth], leaf[2 * kWidth]}, order[i]};
}

UNER3D_HD void store_slot(const Slot& slot, float* leaves, std::int32_t* order, std::int64_t i) {
  float* leaf = leaves + i / kWidth * (3 * kWidth) + i % kWidth;
  UNER3D_UNROLL
  for (int d = 0; d < 3; ++d) leaf[d * kWidth] = slot.x[d];
  order[i] = slot.index;
}

}  // namespace uner3d::core
