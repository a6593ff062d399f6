#include "../ops/ray_edges.h"

#include <algorithm>
#include <vector>

#include "../core/ray_edges.h"
#include "attenuate.h"
#include "grid_cells.h"
#include "parallel.h"

namespace uner3d::cpu {
namespace {

using std::int64_t;
constexpr int64_t kStepsPerChunk = 4096;

// What is known of the steps of one ray, in arrays of whole vectors whose ends are zero. Those with neighbours have a
// zero before their first step as well.
template <class T>
class Steps {
 public:
  explicit Steps(int64_t n)
      : n_(n), n_padded_(round_up_to_lanes<T>(n + 1)), memory_(static_cast<std::size_t>(6 * (n_padded_ + 1))) {}

  int64_t n() const { return n_; }
  T* sigma() { return at(0); }
  T* depth() { return at(1); }
  T* before() { return at(2); }
  T* weight() { return at(3) + 1; }
  T* occupied() { return at(4) + 1; }
  T* cdf() { return at(5); }

 private:
  T* at(int64_t i) { return memory_.data() + i * (n_padded_ + 1); }
  int64_t n_, n_padded_;
  std::vector<T> memory_;
};

// Densities of the grid at the middles of the steps, and the optical depths of the steps; whether there are any.
template <bool kContracted, class T>
bool look_up(const RayEdgesArgs<T>& a, int64_t r, std::int32_t* cells, Steps<T>& steps) {
  const T *knots = a.knots + r * (a.n_steps + 1), *o = a.origins + 3 * r, *d = a.directions + 3 * r;
  const T ox = o[0], oy = o[1], oz = o[2], dx = d[0], dy = d[1], dz = d[2];
  const GridBox<T> box = a.box;
#pragma omp simd
  for (int64_t i = 0; i < a.n_steps; ++i) {
    const T t = T(0.5) * (knots[i + 1] + knots[i]);
    T x = ox + t * dx, y = oy + t * dy, z = oz + t * dz;
    cells[i] = cell_of<kContracted>(box, x, y, z);
  }
  const T* values = a.values;
  const T length = std::sqrt(dx * dx + dy * dy + dz * dz);
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
// change where nothing is added.
template <class T>
void accumulate(Steps<T>& steps) {
  const T* depth = steps.depth();
  T* before = steps.before();
  double sum = 0;
  for (int64_t i = 0; i < steps.n(); ++i) {
    sum += depth[i];
    before[i] = T(core::kSoftening) * (static_cast<T>(sum) - depth[i]);
  }
}

// Rendering weights as the grid predicts them, and whether a step is worth a sample.
template <class T>
void weigh(Steps<T>& steps) {
  const T *depth = steps.depth(), *before = steps.before();
  T *weight = steps.weight(), *occupied = steps.occupied();
  for (int64_t i = 0; i < steps.n(); i += kLanes<T>) {
    Vec<T> alpha, through, ignored;
    attenuate(load(depth + i), alpha, ignored);
    attenuate(load(before + i), ignored, through);
    store_some<false>(weight + i, Vec<T>(alpha * through), steps.n() - i);
  }
#pragma omp simd
  for (int64_t i = 0; i < steps.n(); ++i) occupied[i] = core::is_occupied(depth[i], before[i]) ? T(1) : T(0);
}

// The shares of the steps, added up, in cdf[1] to cdf[n], of which the last is 1.
template <class T>
void add_up(T uniform, Steps<T>& steps) {
  const int64_t n = steps.n();
  const T *weight = steps.weight(), *occupied = steps.occupied(), *sigma = steps.sigma();
  T *share = steps.depth(), *worth = steps.before(), *cdf = steps.cdf();
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
    sum += share[i];
    cdf[i + 1] = static_cast<T>(sum);
  }
  const T total = core::divisor(cdf[n]);
#pragma omp simd
  for (int64_t i = 1; i <= n; ++i) cdf[i] /= total;  // a factor would not make the last one 1
}

template <class T>
void place(const RayEdgesArgs<T>& a, int64_t r, const T* cdf) {
  const T *knots = a.knots + r * (a.n_steps + 1), *jitter = a.jitter ? a.jitter + r * (a.n_samples + 1) : nullptr;
  T* edges = a.edges + r * (a.n_samples + 1);
  int64_t step = 1;
  for (int64_t k = 0; k <= a.n_samples; ++k) {
    const T u = core::jittered(k, jitter ? jitter[k] : T(0.5), a.n_samples);
    step = core::step_of(u, cdf, a.n_steps, step);
    edges[k] = core::quantile(u, cdf[step - 1], cdf[step], knots[step - 1], knots[step]);
  }
}

template <bool kContracted, class T>
void edges_of_rays(const RayEdgesArgs<T>& a, int64_t begin, int64_t end) {
  Steps<T> steps(a.n_steps);
  std::vector<std::int32_t> cells(static_cast<std::size_t>(a.n_steps));
  for (int64_t r = begin; r < end; ++r) {
    if (look_up<kContracted>(a, r, cells.data(), steps)) {
      accumulate(steps);
      weigh(steps);
      add_up(a.uniform, steps);
    } else {
      std::fill_n(steps.cdf(), a.n_steps + 1, T(0));  // nothing but carved cells: no step has a share
    }
    place(a, r, steps.cdf());
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
