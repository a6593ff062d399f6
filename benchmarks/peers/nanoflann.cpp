// nanoflann behind a C interface for nanoflann_cpp.py: float32, three dimensions, leaves of its default size.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <nanoflann.hpp>
#include <thread>
#include <vector>

namespace {

struct Points {
  const float* xyz;
  std::size_t n;
  std::size_t kdtree_get_point_count() const { return n; }
  float kdtree_get_pt(std::uint32_t i, std::size_t axis) const { return xyz[3 * std::size_t(i) + axis]; }
  template <class Box>
  bool kdtree_get_bbox(Box&) const {
    return false;
  }
};

using Index =
    nanoflann::KDTreeSingleIndexAdaptor<nanoflann::L2_Simple_Adaptor<float, Points>, Points, 3, std::uint32_t>;

nanoflann::KDTreeSingleIndexAdaptorParams params([[maybe_unused]] unsigned threads) {
#if NANOFLANN_VERSION >= 0x150
  return {10, nanoflann::KDTreeSingleIndexAdaptorFlags::None, threads};
#else
  return {10};  // builds on one thread
#endif
}

struct Tree {
  Points points;
  Index index;
  Tree(const float* xyz, std::size_t n, unsigned threads) : points{xyz, n}, index(3, points, params(threads)) {}
};

constexpr std::int64_t kChunk = 2048;  // queries that a thread takes at a time: neighbours in order stay together

}  // namespace

extern "C" {

std::int64_t version() { return NANOFLANN_VERSION; }

void* tree_make(const float* xyz, std::int64_t n, std::int64_t threads) {
  return new Tree(xyz, std::size_t(n), unsigned(threads));
}

void tree_free(void* tree) { delete static_cast<Tree*>(tree); }

void tree_search(const void* tree, const float* queries, std::int64_t m, std::int64_t k, std::int64_t threads,
                 float* dist2, std::uint32_t* index) {
  const Index& search = static_cast<const Tree*>(tree)->index;
  std::atomic<std::int64_t> next{0};
  auto work = [&] {
    for (std::int64_t begin; (begin = next.fetch_add(kChunk)) < m;)
      for (std::int64_t i = begin; i < m && i < begin + kChunk; ++i)
        search.knnSearch(queries + 3 * i, std::size_t(k), index + k * i, dist2 + k * i);
  };
  std::vector<std::thread> others;
  for (std::int64_t t = 1; t < threads; ++t) others.emplace_back(work);
  work();
  for (std::thread& thread : others) thread.join();
}

}  // extern "C"
