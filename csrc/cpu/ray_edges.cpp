#include "../ops/ray_edges.h"

#include <algorithm>
#include <vector>

#include "../core/limits.h"
#include "../core/ray_edges.h"
#include "attenuate.h"
#include "grid_cells.h"
#include "parallel.h"

namespace uner3d::cpu {
namespace {

using std::int64_t;
constexpr int64_t kStepsPerChunk = 4096;
constexpr int64_t kPad = 16;  // before and behind the steps of a ray, so that they have neighbours and whole vectors

// What is known of the steps and the samples of one ray. Arrays over steps end in zeros, the cdf in infinities.
template <class T>
struct RaySteps {
  explicit RaySteps(int64_t n_steps, int64_t n_edges)
      : n(n_steps),
        n_search(power_of_two(n_steps)),
        memory(static_cast<std::size_t>(5 * stride()), T(0)),
        cdf(static_cast<std::size_t>(n_search + 1), core::kInfinity<T>),
        u(static_cast<std::size_t>(round_up_to_lanes<T>(n_edges))),
        step(u.size()),
        cells(static_cast<std::size_t>(n + 1)),
        cells_ahead(cells) {}

  int64_t stride() const { return round_up_to_lanes<T>(n) + 2 * kPad; }
  T* sigma() { return memory.data() + kPad; }
  T* depth() { return sigma() + stride(); }
  T* before() { return sigma() + 2 * stride(); }
  T* weight() { return sigma() + 3 * stride(); }
  T* occupied() { return sigma() + 4 * stride(); }

  int64_t n, n_search;
  std::vector<T> memory, cdf, u;
  std::vector<std::int32_t> step, cells, cells_ahead;

 private:
  static int64_t power_of_two(int64_t at_least) {
    int64_t power = 1;
    while (power < at_least) power *= 2;
    return power;
  }
};

// The cells at the middles of the steps of a ray.
template <bool kContracted, class T>
void locate(const RayEdgesArgs<T>& a, int64_t r, std::int32_t* cells) {
  const T *knots = a.knots + r * (a.n_steps + 1), *o = a.origins + 3 * r, *d = a.directions + 3 * r;
  const T ox = o[0], oy = o[1], oz = o[2], dx = d[0], dy = d[1], dz = d[2];
  const GridBox<T> box = a.box;
#pragma omp simd
  for (int64_t i = 0; i < a.n_steps; ++i) {
    const T t = T(0.5) * (knots[i + 1] + knots[i]);
    T x = ox + t * dx, y = oy + t * dy, z = oz + t * dz;
    cells[i] = cell_of<kContracted>(box, x, y, z);
  }
}

// Densities of the grid in the cells of a ray, and the optical depths of its steps; whether there are any.
template <class T>
bool look_up(const RayEdgesArgs<T>& a, int64_t r, RaySteps<T>& steps) {
  const T *knots = a.knots + r * (a.n_steps + 1), *d = a.directions + 3 * r, *values = a.values;
  const T length = std::sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]);
  const std::int32_t* cells = steps.cells.data();
  T *sigma = steps.sigma(), *depth = steps.depth(), most = 0;
#pragma omp simd reduction(max : most)
  for (int64_t i = 0; i < a.n_steps; ++i) {
    sigma[i] = values[cells[i]];
    depth[i] = sigma[i] * ((knots[i + 1] - knots[i]) * length);
    most = std::max(most, sigma[i]);
  }
  return most > 0;
}

// Softened optical depth in front of each step. The sum is kept in double precision, as torch keeps it: it must not
// change where nothing is added. The grid is larger than the caches, so half of the densities that the next ray needs
// are asked for here and half in add_up, where additions wait for one another; all at once they would hold up the rest.
template <class T>
void accumulate(const T* values, RaySteps<T>& steps) {
  const std::int32_t* ahead = steps.cells_ahead.data();
  const T* depth = steps.depth();
  T* before = steps.before();
  double sum = 0;
  for (int64_t i = 0; i < steps.n; ++i) {
    __builtin_prefetch(values + ahead[i & ~1]);
    sum += depth[i];
    before[i] = T(core::kSoftening) * (static_cast<T>(sum) - depth[i]);
  }
}

// Rendering weights as the grid predicts them, and whether a step is worth a sample.
template <class T>
void weigh(RaySteps<T>& steps) {
  const T *depth = steps.depth(), *before = steps.before();
  T *weight = steps.weight(), *occupied = steps.occupied();
  for (int64_t i = 0; i < steps.n; i += kLanes<T>) {
    Vec<T> alpha, through, ignored;
    attenuate(load(depth + i), alpha, ignored);
    attenuate(load(before + i), ignored, through);
    store_some<false>(weight + i, Vec<T>(alpha * through), steps.n - i);
  }
#pragma omp simd
  for (int64_t i = 0; i < steps.n; ++i) occupied[i] = core::is_occupied(depth[i], before[i]) ? T(1) : T(0);
}

// The shares of the steps, added up, in cdf[1] to cdf[n], of which the last is 1.
template <class T>
void add_up(const T* values, T uniform, RaySteps<T>& steps) {
  const std::int32_t* ahead = steps.cells_ahead.data();
  const int64_t n = steps.n;
  const T *weight = steps.weight(), *occupied = steps.occupied(), *sigma = steps.sigma();
  T *share = steps.depth(), *worth = steps.before(), *cdf = steps.cdf.data();
  T of_weight = 0, of_occupied = 0, of_any = 0;
#pragma omp simd reduction(+ : of_weight, of_occupied, of_any)
  for (int64_t i = 0; i < n; ++i) {
    share[i] = core::dilated(weight[i - 1], weight[i], weight[i + 1]);
    worth[i] = core::dilated(occupied[i - 1], occupied[i], occupied[i + 1]);
    of_weight += share[i];
    of_occupied += worth[i];
    of_any += sigma[i] > T(0) ? T(1) : T(0);
  }
  // A ray that the grid holds empty spreads its samples: that is where a surface can still be found.
  const T spread = of_occupied == T(0) ? std::min(uniform + T(1), T(1)) : std::min(uniform, T(1));
  const T gathered = (T(1) - spread) * T(0.5);
  const T by_weight = gathered / core::divisor(of_weight), by_worth = gathered / core::divisor(of_occupied);
  const T by_any = (spread + T(core::kLeastShare)) / core::divisor(of_any);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i)
    share[i] = share[i] * by_weight + worth[i] * by_worth + (sigma[i] > T(0) ? by_any : T(0));
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    __builtin_prefetch(values + ahead[i | 1]);
    sum += share[i];
    cdf[i + 1] = static_cast<T>(sum);
  }
  const T total = core::divisor(cdf[n]);
#pragma omp simd
  for (int64_t i = 1; i <= n; ++i) cdf[i] /= total;  // a factor would not make the last one 1
}

// The steps in which the quantiles lie, one bit of all their numbers at a time; cdf holds infinity from its end on.
template <class T>
void search(RaySteps<T>& scratch) {
  const auto n_edges = static_cast<int64_t>(scratch.u.size());
  const T *cdf = scratch.cdf.data(), *u = scratch.u.data();
  std::int32_t* step = scratch.step.data();
  std::fill_n(step, n_edges, 0);
  for (auto half = static_cast<std::int32_t>(scratch.n_search / 2); half > 0; half /= 2) {
#pragma omp simd
    for (int64_t k = 0; k < n_edges; ++k) {
      const std::int32_t next = step[k] + half;
      step[k] = cdf[next] <= u[k] ? next : step[k];
    }
  }
}

template <class T>
void place(const RayEdgesArgs<T>& a, int64_t r, RaySteps<T>& scratch) {
  const T *knots = a.knots + r * (a.n_steps + 1), *jitter = a.jitter ? a.jitter + r * (a.n_samples + 1) : nullptr;
  const T* cdf = scratch.cdf.data();
  T *edges = a.edges + r * (a.n_samples + 1), *u = scratch.u.data();
#pragma omp simd
  for (int64_t k = 0; k <= a.n_samples; ++k) u[k] = core::jittered<T>(k, jitter ? jitter[k] : T(0.5), a.n_samples);
  search(scratch);
  const std::int32_t *step = scratch.step.data(), last = static_cast<std::int32_t>(a.n_steps - 1);
#pragma omp simd
  for (int64_t k = 0; k <= a.n_samples; ++k) {
    const std::int32_t i = std::min(step[k], last);
    edges[k] = core::quantile(u[k], cdf[i], cdf[i + 1], knots[i], knots[i + 1]);
  }
}

template <bool kContracted, class T>
void edges_of_rays(const RayEdgesArgs<T>& a, int64_t begin, int64_t end) {
  RaySteps<T> scratch(a.n_steps, a.n_samples + 1);
  scratch.cdf[0] = 0;
  locate<kContracted>(a, begin, scratch.cells_ahead.data());
  for (int64_t r = begin; r < end; ++r) {
    scratch.cells.swap(scratch.cells_ahead);
    if (r + 1 < end) locate<kContracted>(a, r + 1, scratch.cells_ahead.data());
    if (look_up(a, r, scratch)) {
      accumulate(a.values, scratch);
      weigh(scratch);
      add_up(a.values, a.uniform, scratch);
    } else {
      std::fill_n(scratch.cdf.begin(), a.n_steps + 1, T(0));  // nothing but carved cells: no step has a share
    }
    place(a, r, scratch);
  }
}

}  // namespace

template <class T>
void ray_edges(const RayEdgesArgs<T>& a, int n_threads) {
  parallel_for(a.n_rays, kStepsPerChunk / a.n_steps, n_threads, [&](int64_t begin, int64_t end) {
    if (a.box.contracted)
      edges_of_rays<true>(a, begin, end);
    else
      edges_of_rays<false>(a, begin, end);
  });
}

template void ray_edges<float>(const RayEdgesArgs<float>&, int);
template void ray_edges<double>(const RayEdgesArgs<double>&, int);

}  // namespace uner3d::cpu
