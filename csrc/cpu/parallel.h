// Splits a range over threads. The thread count is an argument (torch's own), never read from the environment.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>

#include "team.h"

namespace uner3d::cpu {

// Calls body(begin, end) on chunks of at most `grain` items. Chunks are handed out dynamically, so a body whose result
// depends on its chunk must not be used; one whose items are independent gives the same bytes for any thread count.
// An exception thrown by a body is rethrown on the calling thread once all threads have stopped.
template <class Body>
void parallel_for(std::int64_t n, std::int64_t grain, int n_threads, const Body& body) {
  if (n <= 0) return;
  grain = std::max<std::int64_t>(grain, 1);
  const std::int64_t n_chunks = (n + grain - 1) / grain;
  const int n_workers = static_cast<int>(std::min<std::int64_t>(std::max(n_threads, 1), n_chunks));
  if (n_workers == 1) {
    for (std::int64_t begin = 0; begin < n; begin += grain) body(begin, std::min(n, begin + grain));
    return;
  }
  std::atomic<std::int64_t> next{0};
  std::exception_ptr error;
  std::atomic<bool> failed{false};
  auto work = [&] {
    try {
      for (;;) {
        const std::int64_t chunk = next.fetch_add(1, std::memory_order_relaxed);
        if (chunk >= n_chunks || failed.load(std::memory_order_relaxed)) return;
        body(chunk * grain, std::min(n, (chunk + 1) * grain));
      }
    } catch (...) {
      if (!failed.exchange(true)) error = std::current_exception();
    }
  };
  run_team(n_threads, n_workers, work);
  if (error) std::rethrow_exception(error);
}

}  // namespace uner3d::cpu
