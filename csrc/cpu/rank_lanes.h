// The best neighbours so far of eight queries, a lane a query: inserting a candidate into all eight sorted rows takes a
// minimum and a maximum a slot, without a permutation or a branch. For processors with AVX2 or AVX-512.
#pragma once

#include <cstring>

#include "../core/knn.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace uner3d::cpu {

constexpr int kBundle = 8;  // queries that are searched for at once

#if defined(__AVX2__)
// Ranks (core::Key<float>) are held as doubles, which order like the integers and are compared in one instruction
// everywhere. kRankBias lifts them above the denormal numbers, which a thread may be told to treat as zeros; the
// largest float and infinity stay below the patterns of infinity and NaN.
constexpr std::int32_t kRankBias = 0x00100000;

inline double rank_of_key(core::Key<float> key) {
  const std::int64_t bits = key + (static_cast<std::int64_t>(kRankBias) << 32);
  double rank;
  std::memcpy(&rank, &bits, sizeof rank);
  return rank;
}

inline core::Key<float> key_of_rank(double rank) {
  std::int64_t bits;
  std::memcpy(&bits, &rank, sizeof bits);
  return bits - (static_cast<std::int64_t>(kRankBias) << 32);
}

// In memory the lanes of a slot lie in the order of kRankLane, which is its own inverse.
constexpr int kRankLane[kBundle] = {0, 1, 4, 5, 2, 3, 6, 7};

struct Ranks {
  __m256d a, b;

  static Ranks load(const double* p) { return {_mm256_load_pd(p), _mm256_load_pd(p + 4)}; }
  void store(double* p) const { _mm256_store_pd(p, a), _mm256_store_pd(p + 4, b); }

  // From squared distances, biased, and one index.
  static Ranks make(__m256i distances, std::int32_t index) {
    const __m256i low = _mm256_set1_epi32(index);
    return {_mm256_castsi256_pd(_mm256_unpacklo_epi32(low, distances)),
            _mm256_castsi256_pd(_mm256_unpackhi_epi32(low, distances))};
  }
  // Their squared distances, biased.
  __m256i distances() const {
    return _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castpd_ps(a), _mm256_castpd_ps(b), 0xdd));
  }
  friend Ranks min(const Ranks& x, const Ranks& y) { return {_mm256_min_pd(x.a, y.a), _mm256_min_pd(x.b, y.b)}; }
  friend Ranks max(const Ranks& x, const Ranks& y) { return {_mm256_max_pd(x.a, y.a), _mm256_max_pd(x.b, y.b)}; }
};

// Of the eight.
inline void least_and_most(__m256 values, float& least, float& most) {
  __m128 low = _mm256_castps256_ps128(values), high = _mm256_extractf128_ps(values, 1);
  __m128 a = _mm_min_ps(low, high), b = _mm_max_ps(low, high);
  a = _mm_min_ps(a, _mm_movehl_ps(a, a)), b = _mm_max_ps(b, _mm_movehl_ps(b, b));
  least = _mm_cvtss_f32(_mm_min_ss(a, _mm_movehdup_ps(a)));
  most = _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

inline float least_of_row(const float* row) {  // of core::kWidth values
  float least, most;
  least_and_most(_mm256_min_ps(_mm256_load_ps(row), _mm256_load_ps(row + 8)), least, most);
  return least;
}

inline double largest_rank(const double* ranks) {
  const __m256d most = _mm256_max_pd(_mm256_load_pd(ranks), _mm256_load_pd(ranks + 4));
  const __m128d two = _mm_max_pd(_mm256_castpd256_pd128(most), _mm256_extractf128_pd(most, 1));
  return _mm_cvtsd_f64(_mm_max_sd(two, _mm_unpackhi_pd(two, two)));
}

// Rows of K slots, each sorted in ascending order.
template <int K>
inline __attribute__((always_inline)) void insert_ranks(Ranks* row, const Ranks& x) {
#pragma GCC unroll 8
  for (int i = K - 1; i > 0; --i) row[i] = min(row[i], max(row[i - 1], x));
  row[0] = min(row[0], x);
}

#endif

}  // namespace uner3d::cpu
