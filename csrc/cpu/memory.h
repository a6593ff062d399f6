// Hints to the memory system: none changes a result.
#pragma once

#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace uner3d::cpu {

// Asks for 2 MiB pages under a large array that is about to be written for the first time: the kernel then takes one
// fault where it would take 512. Only pages that lie wholly inside the array are touched.
template <class T>
void advise_large_pages([[maybe_unused]] T* array, [[maybe_unused]] std::int64_t n) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr std::uintptr_t kPage = std::uintptr_t(1) << 21;
  const auto begin = (reinterpret_cast<std::uintptr_t>(array) + kPage - 1) / kPage * kPage;
  const auto end = reinterpret_cast<std::uintptr_t>(array + n) / kPage * kPage;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // refusal costs only time
#endif
}

// Fetches `n` values into the cache ahead of their use. The empty asm keeps GCC from taking a function that does
// nothing but prefetch for one without effect, whose calls it drops.
template <class T>
inline __attribute__((always_inline)) void prefetch(const T* from, std::int64_t n) {
  const char *at = reinterpret_cast<const char*>(from), *end = reinterpret_cast<const char*>(from + n);
  asm volatile("" ::"r"(at));
  for (; at < end; at += 64) __builtin_prefetch(at);
  __builtin_prefetch(end - 1);
}

}  // namespace uner3d::cpu
