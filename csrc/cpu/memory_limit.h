// How much memory this process may use.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>

#if defined(__linux__)
#include <unistd.h>
#endif

namespace uner3d::cpu {

// The machine's memory, or what the container (control groups, version 2 or 1) allows where that is less; 0 where
// the machine does not say.
inline std::size_t memory_limit() {
  std::size_t limit = 0;
#if defined(__linux__)
  const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  if (pages > 0 && page > 0) limit = static_cast<std::size_t>(pages) * static_cast<std::size_t>(page);
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::FILE* const file = std::fopen(path, "r");
    if (!file) continue;
    unsigned long long allowed = 0;  // stays 0 for "max"
    if (std::fscanf(file, "%llu", &allowed) == 1 && allowed > 0)
      limit = std::min(limit, static_cast<std::size_t>(allowed));
    std::fclose(file);
  }
#endif
  return limit;
}

}  // namespace uner3d::cpu
