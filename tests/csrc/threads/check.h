// Inputs for the CPU kernels, and the comparison of what several threads make of them with what one does.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <vector>

namespace uner3d::threads {

using Values = std::vector<float>;

inline Values uniform(std::int64_t n, float low, float high, unsigned seed) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> number(low, high);
  Values values(static_cast<std::size_t>(n));
  for (float& value : values) value = number(generator);
  return values;
}

// Calls run(n_threads), which returns all results one after another, with 1, 2 and 4 threads; ends the program where
// they differ in a bit.
inline void check(const char* name, const std::function<Values(int)>& run) {
  const Values one = run(1);
  for (const int n_threads : {2, 4}) {
    if (run(n_threads) == one) continue;
    std::fprintf(stderr, "%s: %d threads do not give what one does\n", name, n_threads);
    std::exit(1);
  }
  std::printf("%s: %zu values\n", name, one.size());
}

inline Values joined(const std::vector<Values>& parts) {
  Values all;
  for (const Values& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

void check_points();
void check_views();

}  // namespace uner3d::threads
