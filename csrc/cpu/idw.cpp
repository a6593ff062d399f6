#include "../ops/idw.h"

#include "../core/idw.h"
#include "finite.h"
#include "knn_nearby.h"
#include "pair_scatter.h"

namespace uner3d::cpu {
namespace {

constexpr std::int64_t kGrain = 512;

// The neighbours of one query with their weights; arrays of at most kMaxNeighbours.
template <class T>
struct Weighted {
  int n;
  std::int32_t index[kMaxNeighbours];
  T dist2[kMaxNeighbours];
  T inverse[kMaxNeighbours];  // of the denominator; 0 for neighbours that do not count
  T weight[kMaxNeighbours];   // times the point's own weight
  T sum;                      // of weight
  core::IdwScale<T> scale;
};

// counts[j]: the normals of query and neighbour look the same way; all count where none does.
template <class T>
void choose_by_normals(const IdwArgs<T>& a, std::int64_t row, const Weighted<T>& w, bool* counts) {
  bool any = false;
  for (int j = 0; j < w.n; ++j) {
    counts[j] = false;
    if (!a.normals) continue;
    const T *u = a.normals + 3 * static_cast<std::int64_t>(w.index[j]), *v = a.query_normals + 3 * row;
    counts[j] = u[0] * v[0] + u[1] * v[1] + u[2] * v[2] > T(0);
    any |= counts[j];
  }
  if (!any) std::fill(counts, counts + w.n, true);
}

// The neighbours that `search` has found for the query of a row.
template <class T, class Search>
void weigh(const IdwArgs<T>& a, std::int64_t row, const Search& search, int lane, Weighted<T>& w) {
  bool counts[kMaxNeighbours];
  w.n = search.count(lane);
  w.sum = T(0);
  for (int j = 0; j < w.n; ++j) w.index[j] = search.index(lane, j), w.dist2[j] = search.dist2(lane, j);
  choose_by_normals(a, row, w, counts);
  int nearest = 0;  // that counts and weighs something
  while (nearest < w.n && !(counts[nearest] && (!a.weights || a.weights[w.index[nearest]] > T(0)))) ++nearest;
  if (nearest == w.n) {
    w.n = 0;
    return;
  }
  const T softening2 = a.softening2 < T(0) ? core::default_softening2(w.dist2[w.n - 1], w.n) : a.softening2;
  w.scale = core::idw_scale(w.dist2[nearest], softening2, a.power);
  for (int j = 0; j < w.n; ++j) {
    w.inverse[j] = counts[j] ? core::idw_inverse(core::idw_denominator(w.scale, w.dist2[j])) : T(0);
    w.weight[j] = a.weights ? w.inverse[j] * a.weights[w.index[j]] : w.inverse[j];
    w.sum += w.weight[j];
  }
}

// Calls use(i, row, weighted) for the sorted queries begin..end, and fetch(row) before.
template <int K, class T, class Fetch, class Use>
void for_weighted(const IdwArgs<T>& a, const QueryOrder<T>& order, std::int64_t base, std::int64_t begin,
                  std::int64_t end, const Fetch& fetch, const Use& use) {
  Weighted<T> weighted;
  for_neighbours<K>(a, order, base, begin, end, fetch,
                    [&](std::int64_t i, std::int64_t row, const auto& search, int lane) {
                      weigh(a, row, search, lane, weighted);
                      use(i, row, weighted);
                    });
}

template <class T>
void blend(const IdwArgs<T>& a, const Weighted<T>& w, T* out) {
  std::fill(out, out + a.c, T(0));
  for (int j = 0; j < w.n; ++j) {
    const T share = w.weight[j] / w.sum;
    const T* value = a.values + w.index[j] * a.c;
    for (std::int64_t c = 0; c < a.c; ++c) out[c] += share * value[c];
  }
}

// Derivative by the share of each neighbour, relative to the mean: g . (v_j - out) / sum.
template <class T>
void share_slopes(const IdwArgs<T>& a, const Weighted<T>& w, const T* grad_out, T* slope) {
  T mean = T(0);
  for (int j = 0; j < w.n; ++j) {
    const T* value = a.values + w.index[j] * a.c;
    slope[j] = T(0);
    for (std::int64_t c = 0; c < a.c; ++c) slope[j] += grad_out[c] * value[c];
    mean += w.weight[j] / w.sum * slope[j];
  }
  for (int j = 0; j < w.n; ++j) slope[j] = (slope[j] - mean) / w.sum;
}

// Writes the pairs of one query and the gradient by its position; returns how many pairs.
template <class T>
int differentiate(const IdwArgs<T>& a, const Weighted<T>& w, std::int64_t row, std::int32_t query, const T* grad_out,
                  T* grad_query, Pair<T>* pairs) {
  T slope[kMaxNeighbours], sum[3] = {};
  share_slopes(a, w, grad_out + row * a.c, slope);
  for (int j = 0; j < w.n; ++j) {
    const std::int64_t p = w.index[j];
    const T own = a.weights ? a.weights[p] : T(1);
    const T position = slope[j] * own * core::idw_inverse_slope(w.scale, w.dist2[j], w.inverse[j]);
    for (int d = 0; d < 3; ++d) sum[d] += position * (a.queries[3 * row + d] - a.tree.points[3 * p + d]);
    pairs[j] = {w.index[j], query, w.weight[j] / w.sum, slope[j] * w.inverse[j], position};
  }
  if (grad_query) std::copy(sum, sum + 3, grad_query);
  return w.n;
}

template <class T>
void add_pair(const IdwArgs<T>& a, const T* grad_out, const IdwGrads<T>& grads, std::int64_t row, const Pair<T>& pair) {
  const std::int64_t p = pair.point;
  if (grads.values)
    for (std::int64_t c = 0; c < a.c; ++c) grads.values[p * a.c + c] += pair.value * grad_out[row * a.c + c];
  if (grads.weights) grads.weights[p] += pair.weight;
  if (grads.points)
    for (int d = 0; d < 3; ++d)
      grads.points[3 * p + d] -= pair.position * (a.queries[3 * row + d] - a.tree.points[3 * p + d]);
}

}  // namespace

template <class T>
std::int64_t idw_forward(const IdwArgs<T>& a, T* out, int n_threads) {
  const std::int64_t bad = first_not_finite(a.queries, a.m, 3, n_threads);
  if (bad >= 0) return bad;
  QueryOrder<T> order(a.m);
  for (std::int64_t base = 0; base < a.m; base += kQueryChunk) {
    const std::int64_t n = std::min(kQueryChunk, a.m - base);
    order.sort(a.queries + 3 * base, n, n_threads);
    with_capacity(a.k, [&](auto capacity) {
      parallel_for(n, kGrain, n_threads, [&](std::int64_t begin, std::int64_t end) {
        const auto fetch = [&](std::int64_t row) { __builtin_prefetch(out + row * a.c, 1); };
        for_weighted<decltype(capacity)::value>(
            a, order, base, begin, end, fetch,
            [&](std::int64_t, std::int64_t row, const Weighted<T>& weighted) { blend(a, weighted, out + row * a.c); });
      });
    });
  }
  return kAllFinite;
}

template <class T>
void idw_backward(const IdwArgs<T>& a, const T* grad_out, const IdwGrads<T>& grads, int n_threads) {
  QueryOrder<T> order(a.m);
  PairScatter<T> scatter(a.k);
  const bool any_point = grads.values || grads.weights || grads.points;
  for (std::int64_t base = 0; base < a.m; base += kQueryChunk) {
    const std::int64_t n = std::min(kQueryChunk, a.m - base);
    order.sort(a.queries + 3 * base, n, n_threads);
    auto consume = [&](std::int64_t chunk, const Pair<T>& pair) {
      add_pair(a, grad_out, grads, base + order[chunk + pair.query], pair);
    };
    with_capacity(a.k, [&](auto capacity) {
      auto produce = [&](std::int64_t first, std::int64_t last, std::int64_t chunk, Pair<T>* pairs) {
        std::int64_t count = 0;
        const auto fetch = [&](std::int64_t row) { __builtin_prefetch(grad_out + row * a.c); };
        for_weighted<decltype(capacity)::value>(
            a, order, base, first, last, fetch, [&](std::int64_t i, std::int64_t row, const Weighted<T>& weighted) {
              T* grad_query = grads.queries ? grads.queries + 3 * row : nullptr;
              count += differentiate(a, weighted, row, static_cast<std::int32_t>(i - chunk), grad_out, grad_query,
                                     pairs + count);
            });
        return any_point ? count : 0;
      };
      scatter.run(0, n, n_threads, produce, consume);
    });
  }
}

template std::int64_t idw_forward<float>(const IdwArgs<float>&, float*, int);
template std::int64_t idw_forward<double>(const IdwArgs<double>&, double*, int);
template void idw_backward<float>(const IdwArgs<float>&, const float*, const IdwGrads<float>&, int);
template void idw_backward<double>(const IdwArgs<double>&, const double*, const IdwGrads<double>&, int);

}  // namespace uner3d::cpu
