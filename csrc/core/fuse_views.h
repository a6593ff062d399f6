// Weighted mean and population variance over views, one value at a time (West 1979, the weighted form of Welford's
// recurrence), and their derivative. V is the scalar T or a vector of it.
#pragma once

#include "hd.h"

namespace uner3d::core {

// What adding a sample of weight w > 0 to a total of weight `sum` (without it) does: mean += ratio d, m2 += spread d^2,
// where d = sample - mean before the step.
template <class T>
struct WelfordStep {
  T ratio, spread;
};

template <class T>
UNER3D_HD WelfordStep<T> welford_step(T w, T sum) {
  const T ratio = w / (sum + w);
  return {ratio, sum * ratio};
}

template <class V, class T>
UNER3D_HD void welford_add(V sample, WelfordStep<T> step, V& mean, V& m2) {
  const V d = sample - mean;
  mean += step.ratio * d;
  m2 += step.spread * (d * d);
}

// mean = sum w x / W, var = sum w (x - mean)^2 / W. Derivative to x is w / W times this:
template <class V>
UNER3D_HD V fuse_grad_sample(V sample, V mean, V grad_mean, V grad_var) {
  return grad_mean + (grad_var + grad_var) * (sample - mean);
}

// Derivative to w is 1 / W times the sum of this over the channels (plus that of W itself):
template <class V>
UNER3D_HD V fuse_grad_weight(V sample, V mean, V var, V grad_mean, V grad_var) {
  const V d = sample - mean;
  return grad_mean * d + grad_var * (d * d - var);
}

}  // namespace uner3d::core
