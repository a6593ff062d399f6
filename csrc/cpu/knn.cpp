#include "../core/knn.h"

#include "../ops/knn.h"
#include "finite.h"
#include "knn_nearby.h"
#include "pair_scatter.h"

namespace uner3d::cpu {
namespace {
constexpr std::int64_t kGrain = 512;  // queries: long enough for the bound of the last one to pay

template <class T>
void fetch_row(const KnnArgs<T>& a, std::int64_t row) {
  __builtin_prefetch(a.dist2 + row * a.k, 1);
  for (int j = 0; j < a.k; j += kWidth / 2) __builtin_prefetch(a.index + row * a.k + j, 1);
}

template <class T, class Search>
void write_row(const KnnArgs<T>& a, const Search& search, int lane, std::int64_t row) {
  const int found = search.count(lane);
  T* const dist2 = a.dist2 + row * a.k;
  std::int64_t* const index = a.index + row * a.k;
  for (int j = 0; j < found; ++j) dist2[j] = search.dist2(lane, j), index[j] = search.index(lane, j);
  for (int j = found; j < a.k; ++j) dist2[j] = std::numeric_limits<T>::infinity(), index[j] = -1;
}
}  // namespace

template <class T>
std::int64_t knn_forward(const KnnArgs<T>& a, int n_threads) {
  const std::int64_t bad = first_not_finite(a.queries, a.m, 3, n_threads);
  if (bad >= 0) return bad;
  QueryOrder<T> order(a.m);
  for (std::int64_t base = 0; base < a.m; base += kQueryChunk) {
    const std::int64_t n = std::min(kQueryChunk, a.m - base);
    order.sort(a.queries + 3 * base, n, n_threads);
    with_capacity(a.k, [&](auto capacity) {
      parallel_for(n, kGrain, n_threads, [&](std::int64_t begin, std::int64_t end) {
        for_neighbours<decltype(capacity)::value>(
            a, order, base, begin, end, [&](std::int64_t row) { fetch_row(a, row); },
            [&](std::int64_t, std::int64_t row, const auto& search, int lane) { write_row(a, search, lane, row); });
      });
    });
  }
  return kAllFinite;
}

// d dist2 / d query = 2 (query - point) = -d dist2 / d point.
template <class T>
void knn_backward(const KnnGradArgs<T>& a, int n_threads) {
  auto produce = [&](std::int64_t first, std::int64_t last, std::int64_t base, Pair<T>* pairs) {
    std::int64_t count = 0;
    for (std::int64_t row = first; row < last; ++row) {
      T sum[3] = {};
      for (std::int64_t i = row * a.k; i < (row + 1) * a.k; ++i) {
        const std::int64_t p = a.index[i];
        if (p < 0) continue;
        const T slope = T(2) * a.grad_dist2[i];
        for (int d = 0; d < 3; ++d) sum[d] += slope * (a.queries[3 * row + d] - a.points[3 * p + d]);
        pairs[count++] = {static_cast<std::int32_t>(p), static_cast<std::int32_t>(row - base), T(0), T(0), slope};
      }
      if (a.grad_queries) std::copy(sum, sum + 3, a.grad_queries + 3 * row);
    }
    return a.grad_points ? count : 0;
  };
  auto consume = [&](std::int64_t base, const Pair<T>& pair) {
    const T* q = a.queries + 3 * (base + pair.query);
    const std::int64_t p = 3 * static_cast<std::int64_t>(pair.point);
    for (int d = 0; d < 3; ++d) a.grad_points[p + d] -= pair.position * (q[d] - a.points[p + d]);
  };
  PairScatter<T>(a.k).run(0, a.m, n_threads, produce, consume);
}

template std::int64_t knn_forward<float>(const KnnArgs<float>&, int);
template std::int64_t knn_forward<double>(const KnnArgs<double>&, int);
template void knn_backward<float>(const KnnGradArgs<float>&, int);
template void knn_backward<double>(const KnnGradArgs<double>&, int);

}  // namespace uner3d::cpu
