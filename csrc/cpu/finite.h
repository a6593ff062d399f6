// Finds rows that are not finite.
#pragma once

#include <cstdint>

#include "parallel.h"

namespace uner3d::cpu {

// First of the n rows of x (n, width) with a NaN or an infinity, or -1.
template <class T>
std::int64_t first_not_finite(const T* x, std::int64_t n, std::int64_t width, int n_threads) {
  constexpr std::int64_t kGrain = 1 << 16;
  std::atomic<std::int64_t> first{n * width};
  parallel_for(n * width, kGrain, n_threads, [&](std::int64_t begin, std::int64_t end) {
    bool bad = false;
    for (std::int64_t i = begin; i < end; ++i) bad |= !(x[i] - x[i] == T(0));
    if (!bad) return;
    while (x[begin] - x[begin] == T(0)) ++begin;
    std::int64_t seen = first.load();
    while (begin < seen && !first.compare_exchange_weak(seen, begin)) {
    }
  });
  return first.load() < n * width ? first.load() / width : -1;
}

}  // namespace uner3d::cpu
