// Thinning of point sets on the CPU: a stream against everything kept so far, and a set per voxel.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <vector>

namespace uner3d::cpu {

// Keeps a point iff none kept before lies nearer than the radius. A hash grid of cells twice as wide as the radius, so
// that a ball touches eight of them; its slots are cache lines of five points, and a full line overflows into the next.
// The table comes in segments that grow one at a time, so that growing never needs twice the memory.
class PoissonThinner {
 public:
  PoissonThinner(double radius, std::int64_t capacity_hint, std::array<double, 3> origin);

  // points (n, 3) and keep (n,). Returns -1, or the first row that is not finite or too far from the origin for the
  // grid, in which case nothing has been inserted.
  template <class T>
  std::int64_t insert(const T* points, std::int64_t n, bool* keep);

  std::int64_t count() const;
  std::int64_t n_bytes() const;

 private:
  struct Point {
    float x, y, z;
  };
  static constexpr std::uint32_t kPointsPerLine = 5;
  struct alignas(64) Line {
    Point points[kPointsPerLine];
    std::uint32_t count;
  };
  struct Segment {
    std::vector<Line> lines;
    std::int64_t count = 0;
  };
  struct Candidate;

  template <class T>
  Point relative(const T* point) const;
  bool fits(const Point& p) const;
  Candidate prepare(const Point& p) const;
  bool is_free(const Candidate& candidate) const;
  bool line_is_free(const Line& line, const Point& p) const;
  void add(std::uint64_t hash, const Point& p);
  static void place(Segment& segment, std::uint64_t hash, const Point& p);
  void grow(Segment& segment);
  std::uint64_t hash_of(const Point& p) const;

  static constexpr int kSegmentBits = 6;
  double radius_, radius2_, cells_per_unit_;
  std::array<double, 3> origin_;
  std::vector<Segment> segments_;
  mutable std::mutex mutex_;
};

// keep (n,): per cell of edge `voxel` (the grid starts at zero) the point of the highest score, the first among equals.
// points (n, 3), scores (n,), n < 2^32 - 1. Returns -1, or the first row whose cell has no 64-bit index.
template <class T>
std::int64_t voxel_thin(const T* points, const double* scores, std::int64_t n, double voxel, bool* keep);

}  // namespace uner3d::cpu
