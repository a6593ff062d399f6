// Memory for the large outputs and the scratch of the CPU kernels. The C library maps a large array afresh at every
// allocation and gives it back when it is freed, and the first touch of a page costs many times what a kernel spends on
// filling it (1.4 microseconds for 4 KiB on a virtual machine, where a write takes 0.1). So freed blocks are kept, up
// to a limit, and made of 2 MiB pages where the system has them. Of blocks above half that limit one is kept besides,
// the last, if it is no more than a sixteenth of what the process may use.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "memory_limit.h"

namespace uner3d::cpu {

struct PoolBlock {
  char* data = nullptr;
  std::size_t n_bytes = 0;  // more than were asked for, by kStagger at least
};

class PagePool {
 public:
  static constexpr std::size_t kPage = std::size_t(2) << 20;
  static constexpr std::size_t kLimit = std::size_t(512) << 20;  // of what is kept, less the large block
  // Blocks start at whole pages, but arrays that a kernel walks through together must not: a load from an address that
  // equals that of a recent store in its low 12 bits waits for it. Arrays start somewhere in the first kStagger bytes.
  static constexpr std::size_t kStagger = 4096;
  // AddressSanitizer guards what comes from the C library, each array up to its last byte. Pages of our own, whose ends
  // lie beyond the arrays and which live on when freed, would hide what it is to find.
#if defined(__SANITIZE_ADDRESS__)
  static constexpr bool kPools = false;
#else
  static constexpr bool kPools = true;
#endif

  // Never destroyed: tensors may outlive everything else.
  static PagePool& instance() {
    static PagePool* const pool = new PagePool;
    return *pool;
  }

  // The block kept that fits best, unless it would waste more than a quarter; else a new one. Null where the system has
  // no more memory to give, and where nothing is pooled.
  PoolBlock take(std::size_t n_bytes) {
    if (!kPools) return {};
    const std::size_t size = (n_bytes + kStagger + kPage - 1) / kPage * kPage;
    {
      const std::lock_guard lock(mutex_);
      if (large_.n_bytes >= size && fits(large_, size)) return std::exchange(large_, {});
      auto best = kept_.end();
      for (auto block = kept_.begin(); block != kept_.end(); ++block)
        if (block->n_bytes >= size && (best == kept_.end() || block->n_bytes < best->n_bytes)) best = block;
      if (best != kept_.end() && fits(*best, size)) {
        const PoolBlock block = *best;
        kept_.erase(best);
        n_kept_ -= block.n_bytes;
        return block;
      }
    }
    return {map_pages(size), size};
  }

  // Where in its block the next array is to start: at a multiple of 64 bytes, and no two of ten in a row within 256.
  std::size_t next_start() { return 64 * (25 * n_started_.fetch_add(1, std::memory_order_relaxed) % 64); }

  // Keeps the block, and lets go of those that were kept longest where all together exceed the limit.
  void give(PoolBlock block) {
    if (!block.data) return;
    const std::lock_guard lock(mutex_);
    if (block.n_bytes > kLimit / 2) {
      if (block.n_bytes <= large_limit_) std::swap(block, large_);
      return drop(block);
    }
    kept_.push_back(block);
    n_kept_ += block.n_bytes;
    while (n_kept_ > kLimit) drop_first();
  }

  // Gives all that is kept back to the system; returns the number of bytes.
  std::size_t clear() {
    const std::lock_guard lock(mutex_);
    const std::size_t n_bytes = n_kept_ + large_.n_bytes;
    while (!kept_.empty()) drop_first();
    drop(std::exchange(large_, {}));
    return n_bytes;
  }

  std::size_t n_kept() {
    const std::lock_guard lock(mutex_);
    return n_kept_ + large_.n_bytes;
  }

 private:
  static bool fits(const PoolBlock& block, std::size_t size) { return block.n_bytes <= size + size / 4; }

  static void drop([[maybe_unused]] PoolBlock block) {
#if defined(__linux__)
    if (block.data) munmap(block.data, block.n_bytes);
#endif
  }

  void drop_first() {
    n_kept_ -= kept_.front().n_bytes;
    drop(kept_.front());
    kept_.erase(kept_.begin());
  }

  // Aligned to whole large pages: what lies before and behind is given back at once.
  static char* map_pages([[maybe_unused]] std::size_t size) {
#if defined(__linux__)
    void* const all = mmap(nullptr, size + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) return nullptr;
    const auto address = reinterpret_cast<std::uintptr_t>(all);
    const std::uintptr_t begin = (address + kPage - 1) & ~(kPage - 1), end = begin + size;
    if (begin > address) munmap(all, begin - address);
    if (address + kPage > begin) munmap(reinterpret_cast<void*>(end), address + kPage - begin);
#if defined(MADV_HUGEPAGE)
    (void)madvise(reinterpret_cast<void*>(begin), size, MADV_HUGEPAGE);  // a hint alone
#endif
    return reinterpret_cast<char*>(begin);
#else
    return nullptr;
#endif
  }

  std::mutex mutex_;
  std::vector<PoolBlock> kept_;  // in the order they came
  PoolBlock large_;
  const std::size_t large_limit_ = memory_limit() / 16;
  std::size_t n_kept_ = 0;
  std::atomic<std::size_t> n_started_{0};
};

// An uninitialised array that lives as long as this object; a large one lies in the pool.
template <class T>
class Scratch {
  static_assert(std::is_trivially_destructible_v<T>, "nothing is constructed or destroyed");

 public:
  explicit Scratch(std::int64_t n) {
    const std::size_t n_bytes = static_cast<std::size_t>(n) * sizeof(T);
    if (n_bytes >= kPooledFrom) block_ = PagePool::instance().take(n_bytes);
    if (block_.data)
      data_ = reinterpret_cast<T*>(block_.data + PagePool::instance().next_start());
    else
      data_ = static_cast<T*>(::operator new(n_bytes, std::align_val_t(64)));
  }
  ~Scratch() {
    if (block_.data)
      PagePool::instance().give(block_);
    else
      ::operator delete(data_, std::align_val_t(64));
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  T* get() const { return data_; }
  T& operator[](std::int64_t i) const { return data_[i]; }

 private:
  static constexpr std::size_t kPooledFrom = std::size_t(1) << 20;

  PoolBlock block_;
  T* data_ = nullptr;
};

}  // namespace uner3d::cpu
