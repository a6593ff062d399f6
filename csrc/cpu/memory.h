// Advice to the system about large outputs.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace uner3d::cpu {

// Asks for 2 MiB pages behind an output that is about to be written whole. Outputs above 32 MiB are mapped afresh by
// the C library at every allocation, and the first touch of each of their 4 KiB pages costs several times what a kernel
// spends on filling it. A hint alone: where the system refuses it, nothing changes.
inline void prefer_huge_pages(void* data, std::size_t n_bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr std::uintptr_t kHuge = std::uintptr_t(2) << 20;
  if (n_bytes < 16 * kHuge) return;
  const auto address = reinterpret_cast<std::uintptr_t>(data);
  const std::uintptr_t begin = (address + kHuge - 1) & ~(kHuge - 1), end = (address + n_bytes) & ~(kHuge - 1);
  (void)madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)data, (void)n_bytes;
#endif
}

}  // namespace uner3d::cpu
