#include "../ops/idw.h"

#include "../core/idw.h"
#include "finite.h"
#include "knn_search.h"
#include "pair_scatter.h"
#include "query_order.h"

namespace uner3d::cpu {
namespace {

constexpr std::int64_t kGrain = 512;
constexpr std::int64_t kAhead = 4;  // rows are fetched that many queries early: sorted queries have scattered rows

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

template <class T, class Search>
void weigh(const IdwArgs<T>& a, std::int64_t row, Search& search, Weighted<T>& w) {
  bool counts[kMaxNeighbours];
  w.n = search(a.queries + 3 * row);
  w.sum = T(0);
  for (int j = 0; j < w.n; ++j) w.index[j] = search.index(j), w.dist2[j] = search.dist2(j);
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
        Searcher<T, decltype(capacity)::value> search(a.tree, a.k, a.radius);
        Weighted<T> weighted;
        for (std::int64_t i = begin; i < end; ++i) {
          if (i + kAhead < end) {
            const std::int64_t next = base + order[i + kAhead];
            __builtin_prefetch(a.queries + 3 * next);
            __builtin_prefetch(out + next * a.c, 1);
          }
          const std::int64_t row = base + order[i];
          weigh(a, row, search, weighted);
          blend(a, weighted, out + row * a.c);
        }
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
        Searcher<T, decltype(capacity)::value> search(a.tree, a.k, a.radius);
        Weighted<T> weighted;
        std::int64_t count = 0;
        for (std::int64_t i = first; i < last; ++i) {
          const std::int64_t row = base + order[i];
          weigh(a, row, search, weighted);
          T* grad_query = grads.queries ? grads.queries + 3 * row : nullptr;
          count += differentiate(a, weighted, row, static_cast<std::int32_t>(i - chunk), grad_out, grad_query,
                                 pairs + count);
        }
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
