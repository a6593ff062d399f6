// Asking for memory ahead of its use; never changes a result.
#pragma once

#include <cstdint>

namespace uner3d::cpu {

// Fetches `n` values into the cache. The empty asm keeps GCC from taking a function that does nothing but prefetch for
// one without effect, whose calls it drops.
template <class T>
inline __attribute__((always_inline)) void prefetch(const T* from, std::int64_t n) {
  if (n <= 0) return;
  const char *at = reinterpret_cast<const char*>(from), *end = reinterpret_cast<const char*>(from + n);
  asm volatile("" ::"r"(at));
  for (; at < end; at += 64) __builtin_prefetch(at);
  __builtin_prefetch(end - 1);
}

// The same for values `ahead` of `from`, which may lie beyond the end of their array: no pointer is made to there.
template <class T>
inline __attribute__((always_inline)) void prefetch_ahead(const T* from, std::int64_t ahead, std::int64_t n) {
  const auto at = reinterpret_cast<std::uintptr_t>(from) + static_cast<std::uintptr_t>(ahead) * sizeof(T);
  prefetch(reinterpret_cast<const T*>(at), n);
}

}  // namespace uner3d::cpu
