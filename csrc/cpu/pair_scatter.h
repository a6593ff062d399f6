// Adds what each (query, point) pair contributes to rows of points, in an order that no thread count changes.
#pragma once

#include <cstdint>

#include "../ops/knn.h"
#include "page_pool.h"
#include "parallel.h"

namespace uner3d::cpu {

template <class T>
struct Pair {
  std::int32_t point;
  std::int32_t query;  // counted from the start of the chunk
  T value, weight, position;
};

// Pairs are produced block by block (a fixed number of queries) and grouped by bins of points as they come; then each
// bin is reduced by one thread, block after block. Blocks and bins do not depend on the threads, nor do the sums.
template <class T>
class PairScatter {
 public:
  explicit PairScatter(int k)
      : block_queries_(std::max(1, kBlockPairs / k)),
        block_pairs_(block_queries_ * k),
        pairs_(kBlocks * block_pairs_),
        starts_(kBlocks * (kBins + 1)) {}

  std::int64_t chunk_queries() const { return kBlocks * block_queries_; }

  // For the queries [begin, end), chunk by chunk: produce(first, last, base, pairs) writes the pairs of a block of
  // queries, with query = row - base, and returns how many; consume(base, pair) adds one.
  template <class Produce, class Consume>
  void run(std::int64_t begin, std::int64_t end, int n_threads, const Produce& produce, const Consume& consume) {
    for (std::int64_t base = begin; base < end; base += chunk_queries()) {
      const std::int64_t n = std::min(chunk_queries(), end - base);
      const std::int64_t n_blocks = ceil_div(n, block_queries_);
      parallel_for(n_blocks, 1, n_threads, [&](std::int64_t b, std::int64_t) {
        const Scratch<Pair<T>> fresh(block_pairs_);
        const std::int64_t first = base + b * block_queries_;
        const std::int64_t count = produce(first, std::min(first + block_queries_, base + n), base, fresh.get());
        group(b, fresh.get(), count);
      });
      parallel_for(kBins, 1, n_threads, [&](std::int64_t bin, std::int64_t) {
        for (std::int64_t b = 0; b < n_blocks; ++b) {
          const std::int32_t* start = starts_.get() + b * (kBins + 1);
          const Pair<T>* pairs = pairs_.get() + b * block_pairs_;
          for (std::int32_t i = start[bin]; i < start[bin + 1]; ++i) consume(base, pairs[i]);
        }
      });
    }
  }

 private:
  static constexpr int kBlockPairs = 8192;
  static constexpr std::int64_t kBlocks = 64;
  static constexpr int kBinBits = 7, kBins = 1 << kBinBits;

  // Runs of 16 points share a bin; the multiplier (2^32 over the golden ratio) spreads the runs evenly.
  static int bin_of(std::int32_t point) {
    return static_cast<int>((static_cast<std::uint32_t>(point >> 4) * 2654435769u) >> (32 - kBinBits));
  }

  void group(std::int64_t block, const Pair<T>* fresh, std::int64_t count) {
    std::int32_t* start = starts_.get() + block * (kBins + 1);
    std::int32_t next[kBins] = {};
    for (std::int64_t i = 0; i < count; ++i) ++next[bin_of(fresh[i].point)];
    std::int32_t total = 0;
    for (int bin = 0; bin < kBins; ++bin) {
      start[bin] = total;
      total += next[bin];
      next[bin] = start[bin];
    }
    start[kBins] = total;
    Pair<T>* pairs = pairs_.get() + block * block_pairs_;
    for (std::int64_t i = 0; i < count; ++i) pairs[next[bin_of(fresh[i].point)]++] = fresh[i];
  }

  std::int64_t block_queries_, block_pairs_;
  Scratch<Pair<T>> pairs_;
  Scratch<std::int32_t> starts_;
};

}  // namespace uner3d::cpu
