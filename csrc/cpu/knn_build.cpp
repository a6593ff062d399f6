// Builds the implicit tree in its own memory: points are partitioned in the buffer that becomes the leaves.
#include <memory>
#include <utility>
#include <vector>

#include "../core/knn.h"
#include "../ops/knn.h"
#include "finite.h"
#include "parallel.h"

namespace uner3d::cpu {
namespace {

constexpr std::int64_t kSampleFrom = 4096;  // larger ranges are judged by a sample
constexpr std::int64_t kSample = 1024;
constexpr std::size_t kTasks = 256;  // ranges from which on threads work alone
constexpr std::int64_t kLeafGrain = 1024;

template <class T>
struct Cloud {
  T* xyz;  // (n, 3)
  std::int32_t* order;

  // Ties are broken by index: duplicates end up in index order, which keeps the lowest indices of a heap of them in
  // few leaves, and no two elements compare equal, which keeps the partition balanced.
  bool less(std::int64_t i, int axis, T value, std::int32_t index) const {
    const T x = xyz[3 * i + axis];
    return x < value || (x == value && order[i] < index);
  }
  bool greater(std::int64_t i, int axis, T value, std::int32_t index) const {
    const T x = xyz[3 * i + axis];
    return x > value || (x == value && order[i] > index);
  }
  void swap(std::int64_t i, std::int64_t j) const {
    for (int d = 0; d < 3; ++d) std::swap(xyz[3 * i + d], xyz[3 * j + d]);
    std::swap(order[i], order[j]);
  }
};

struct Range {
  std::int64_t begin, end;
};

template <class T>
int widest_axis(const Cloud<T>& cloud, Range r) {
  const std::int64_t n = r.end - r.begin, step = n > kSampleFrom ? n / kSample : 1;
  const T* first = cloud.xyz + 3 * r.begin;
  T low[3] = {first[0], first[1], first[2]}, high[3] = {first[0], first[1], first[2]};
  for (std::int64_t i = r.begin; i < r.end; i += step)
    for (int d = 0; d < 3; ++d) {
      low[d] = std::min(low[d], cloud.xyz[3 * i + d]);
      high[d] = std::max(high[d], cloud.xyz[3 * i + d]);
    }
  int axis = 0;
  for (int d = 1; d < 3; ++d)
    if (T(0.5) * high[d] - T(0.5) * low[d] > T(0.5) * high[axis] - T(0.5) * low[axis]) axis = d;
  return axis;
}

// An element near the wanted rank: the one of that rank in an evenly spaced sample.
template <class T>
std::pair<T, std::int32_t> choose_pivot(const Cloud<T>& cloud, Range r, std::int64_t nth, int axis) {
  constexpr int kMost = 33;
  const std::int64_t n = r.end - r.begin;
  const int n_samples = n < 64 ? 3 : (n < 4096 ? 9 : kMost);
  std::pair<T, std::int32_t> sample[kMost];
  for (int s = 0; s < n_samples; ++s) {
    const std::int64_t i = r.begin + (2 * s + 1) * n / (2 * n_samples);
    sample[s] = {cloud.xyz[3 * i + axis], cloud.order[i]};
  }
  const auto rank = static_cast<int>((nth - r.begin) * n_samples / n);
  std::nth_element(sample, sample + rank, sample + n_samples);
  return sample[rank];
}

// Reorders the range so that everything before `nth` is below everything from it on (Hoare's selection).
template <class T>
void select(const Cloud<T>& cloud, Range r, std::int64_t nth, int axis) {
  while (r.end - r.begin > 1) {
    const auto [value, index] = choose_pivot(cloud, r, nth, axis);
    std::int64_t i = r.begin, j = r.end - 1;
    do {
      while (cloud.less(i, axis, value, index)) ++i;
      while (cloud.greater(j, axis, value, index)) --j;
      if (i <= j) cloud.swap(i++, j--);
    } while (i <= j);
    if (nth <= j)
      r.end = j + 1;
    else if (nth >= i)
      r.begin = i;
    else
      return;
  }
}

// Cuts a range at a multiple of the size of its children, so that the leaves fill up; returns where.
template <class T>
std::int64_t cut(const Cloud<T>& cloud, Range r) {
  const std::int64_t n = r.end - r.begin;
  std::int64_t child = kWidth;
  while (child * kWidth < n) child *= kWidth;
  const std::int64_t middle = r.begin + (ceil_div(n, child) + 1) / 2 * child;
  select(cloud, r, middle, widest_axis(cloud, r));
  return middle;
}

template <class T>
void partition(const Cloud<T>& cloud, Range r) {
  while (r.end - r.begin > kWidth) {
    const std::int64_t middle = cut(cloud, r);
    partition(cloud, {r.begin, middle});
    r.begin = middle;
  }
}

template <class T>
void partition_all(const Cloud<T>& cloud, std::int64_t n, int n_threads) {
  std::vector<Range> ranges{{0, n}};
  while (ranges.size() < kTasks && n / static_cast<std::int64_t>(ranges.size()) > kSampleFrom) {
    std::vector<Range> halves(2 * ranges.size());
    parallel_for(static_cast<std::int64_t>(ranges.size()), 1, n_threads, [&](std::int64_t i, std::int64_t) {
      const Range r = ranges[i];
      const std::int64_t middle = r.end - r.begin > kWidth ? cut(cloud, r) : r.end;
      halves[2 * i] = {r.begin, middle};
      halves[2 * i + 1] = {middle, r.end};
    });
    ranges.swap(halves);
  }
  parallel_for(static_cast<std::int64_t>(ranges.size()), 1, n_threads,
               [&](std::int64_t i, std::int64_t) { partition(cloud, ranges[i]); });
}

// Box and lowest index of one node, as child `slot` of its group.
template <class T>
struct Node {
  T low[3], high[3];
  std::int32_t lowest;

  void store(const KnnBuildArgs<T>& a, std::int64_t group, std::int64_t slot) const {
    T* box = a.boxes + group * 6 * kWidth + slot;
    for (int d = 0; d < 3; ++d) box[d * kWidth] = low[d], box[(3 + d) * kWidth] = high[d];
    a.lowest[group * kWidth + slot] = lowest;
  }
};

// Turns 16 rows (x, y, z) into rows of x, of y and of z, in place, and returns their box.
template <class T>
Node<T> finish_leaf(const KnnBuildArgs<T>& a, std::int64_t leaf) {
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  T* x = a.leaves + leaf * 3 * kWidth;
  std::int32_t* order = a.order + leaf * kWidth;
  const std::int64_t count = std::min<std::int64_t>(kWidth, a.n - leaf * kWidth);
  T rows[3 * kWidth];
  std::copy(x, x + 3 * count, rows);
  Node<T> node{{rows[0], rows[1], rows[2]}, {rows[0], rows[1], rows[2]}, order[0]};
  for (std::int64_t i = 0; i < kWidth; ++i) {
    for (int d = 0; d < 3; ++d) {
      x[d * kWidth + i] = i < count ? rows[3 * i + d] : kInfinity;
      if (i >= count) continue;
      node.low[d] = std::min(node.low[d], rows[3 * i + d]);
      node.high[d] = std::max(node.high[d], rows[3 * i + d]);
    }
    if (i >= count) order[i] = core::kNoIndex;
    node.lowest = std::min(node.lowest, order[i]);
  }
  return node;
}

// Slots without a child hold empty boxes, which change nothing.
template <class T>
Node<T> enclose(const KnnBuildArgs<T>& a, std::int64_t group) {
  const T* box = a.boxes + group * 6 * kWidth;
  const std::int32_t* lowest = a.lowest + group * kWidth;
  Node<T> node;
  for (int d = 0; d < 3; ++d) {
    node.low[d] = *std::min_element(box + d * kWidth, box + d * kWidth + kWidth);
    node.high[d] = *std::max_element(box + (3 + d) * kWidth, box + (3 + d) * kWidth + kWidth);
  }
  node.lowest = *std::min_element(lowest, lowest + kWidth);
  return node;
}

// Fills one level of groups from the n_children nodes below it.
template <class T, class Child>
void fill_level(const KnnBuildArgs<T>& a, std::int64_t first, std::int64_t n_children, int n_threads,
                const Child& child) {
  constexpr T kInfinity = std::numeric_limits<T>::infinity();
  const Node<T> none{{kInfinity, kInfinity, kInfinity}, {-kInfinity, -kInfinity, -kInfinity}, core::kNoIndex};
  const std::int64_t n_slots = ceil_div(n_children, kWidth) * kWidth;
  parallel_for(n_slots, kLeafGrain, n_threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      (i < n_children ? child(i) : none).store(a, first + i / kWidth, i % kWidth);
  });
}

}  // namespace

template <class T>
std::int64_t knn_build(const KnnBuildArgs<T>& a, int n_threads) {
  const std::int64_t bad = first_not_finite(a.points, a.n, 3, n_threads);
  if (bad >= 0) return bad;
  std::copy(a.points, a.points + 3 * a.n, a.leaves);
  for (std::int64_t i = 0; i < a.n; ++i) a.order[i] = static_cast<std::int32_t>(i);
  partition_all(Cloud<T>{a.leaves, a.order}, a.n, n_threads);
  const KnnLevels levels = knn_levels(a.n);
  std::int64_t n_children = ceil_div(a.n, kWidth);
  for (int l = 0; l < levels.n_levels; ++l) {
    if (l == 0)
      fill_level(a, 0, n_children, n_threads, [&](std::int64_t i) { return finish_leaf(a, i); });
    else
      fill_level(a, levels.first[l], n_children, n_threads,
                 [&](std::int64_t i) { return enclose(a, levels.first[l - 1] + i); });
    n_children = levels.first[l + 1] - levels.first[l];
  }
  return kAllFinite;
}

template std::int64_t knn_build<float>(const KnnBuildArgs<float>&, int);
template std::int64_t knn_build<double>(const KnnBuildArgs<double>&, int);

}  // namespace uner3d::cpu
