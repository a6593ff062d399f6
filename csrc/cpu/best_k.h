// The K best neighbours so far, as a sorted row of integers (core::Key); inserting shifts the row without a branch.
#pragma once

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "../core/knn.h"

namespace uner3d::cpu {

// New row = min(row, max(row shifted up by one, x)), for any integer.
template <class Key, int K>
inline __attribute__((always_inline)) void insert_sorted(Key* row, Key x) {
  for (int i = K - 1; i > 0; --i) {
    const Key raised = row[i - 1] > x ? row[i - 1] : x;
    row[i] = row[i] < raised ? row[i] : raised;
  }
  row[0] = row[0] < x ? row[0] : x;
}

#if defined(__AVX512F__)
template <int K>
inline __attribute__((always_inline)) void insert_sorted_wide(std::int64_t* row, std::int64_t x) {
  constexpr __mmask8 kAll = 0xff;  // the forms without a mask make GCC 12 warn of its own header
  const __m512i key = _mm512_set1_epi64(x);
  __m512i before = key;  // the lowest slot has nothing below it
  for (int i = 0; i < K; i += 8) {
    const __m512i now = _mm512_load_si512(row + i);
    const __m512i shifted = _mm512_maskz_alignr_epi64(kAll, now, before, 7);
    const __m512i raised = _mm512_maskz_max_epi64(kAll, shifted, key);
    _mm512_store_si512(row + i, _mm512_maskz_min_epi64(kAll, now, raised));
    before = now;
  }
}
#elif defined(__AVX2__)
template <int K>
inline __attribute__((always_inline)) void insert_sorted_wide(std::int64_t* row, std::int64_t x) {
  const __m256i key = _mm256_set1_epi64x(x);
  __m256i before = key;
  for (int i = 0; i < K; i += 4) {
    const __m256i now = _mm256_load_si256(reinterpret_cast<const __m256i*>(row + i));
    const __m256i shifted =
        _mm256_blend_epi32(_mm256_permute4x64_epi64(now, 0x90), _mm256_permute4x64_epi64(before, 0xff), 0x03);
    const __m256i raised = _mm256_blendv_epi8(key, shifted, _mm256_cmpgt_epi64(shifted, key));
    const __m256i least = _mm256_blendv_epi8(now, raised, _mm256_cmpgt_epi64(now, raised));
    _mm256_store_si256(reinterpret_cast<__m256i*>(row + i), least);
    before = now;
  }
}
#endif

template <class T, int K>
class BestK {
 public:
  using Key = core::Key<T>;

  // Room for k <= K neighbours below `limit`; the K - k slots in front stay at the lowest rank, so that the worst of
  // the k is always the last slot, a constant of the type.
  void reset(int k, Key limit) {
    for (int i = 0; i < K - k; ++i) row_[i] = kLowest;
    for (int i = K - k; i < K; ++i) row_[i] = limit;
    head_ = K - k;
  }

  Key worst() const { return row_[K - 1]; }
  T worst_dist2() const { return core::key_dist2<T>(worst()); }
  Key operator[](int i) const { return row_[head_ + i]; }

  // Does nothing to the row when x is not below worst().
  inline __attribute__((always_inline)) void insert(Key x) {
#if defined(__AVX2__) || defined(__AVX512F__)
    if constexpr (sizeof(Key) == 8 && K % 8 == 0) {
      insert_sorted_wide<K>(row_, x);
      return;
    }
#endif
    insert_sorted<Key, K>(row_, x);
  }

 private:
  static constexpr Key kLowest = -1;  // ranks are not negative
  alignas(64) Key row_[K] = {};
  int head_ = 0;
};

}  // namespace uner3d::cpu
