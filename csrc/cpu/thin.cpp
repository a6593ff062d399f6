#include "../ops/thin.h"

#include <algorithm>
#include <cmath>

#include "../core/thin.h"

namespace uner3d::cpu {
namespace {
// Cell edge over radius. Of 1, 2 and 3 this is the fastest; a little over 2, or rounding could stretch a ball over
// three cells along an axis.
constexpr double kEdge = 2.001;
constexpr int kMaxCells = 8;
constexpr double kMaxLoad = 0.7, kGrowth = 1.3;
constexpr std::int64_t kLookAhead = 8;  // candidates whose lines are fetched while earlier ones are tested

core::Cell cell_at(double x, double y, double z) {
  return {static_cast<std::int64_t>(std::floor(x)), static_cast<std::int64_t>(std::floor(y)),
          static_cast<std::int64_t>(std::floor(z))};
}
}  // namespace

// A point and the hashes of the cells that its ball touches, its own first.
struct PoissonThinner::Candidate {
  Point p;
  int n_cells;
  std::uint64_t hashes[kMaxCells];
};

PoissonThinner::PoissonThinner(double radius, std::int64_t capacity_hint, std::array<double, 3> origin)
    : radius_(radius),
      radius2_(radius * radius),
      cells_per_unit_(1 / (kEdge * radius)),
      origin_(origin),
      segments_(std::size_t(1) << kSegmentBits) {
  const double per_segment = 1.05 * static_cast<double>(capacity_hint) / static_cast<double>(segments_.size());
  const auto n_lines = static_cast<std::size_t>(per_segment / (kMaxLoad * kPointsPerLine)) + 1;
  for (Segment& segment : segments_) segment.lines.resize(n_lines);
}

template <class T>
PoissonThinner::Point PoissonThinner::relative(const T* point) const {
  return {static_cast<float>(point[0] - origin_[0]), static_cast<float>(point[1] - origin_[1]),
          static_cast<float>(point[2] - origin_[2])};
}

bool PoissonThinner::fits(const Point& p) const {
  const double limit = 2147483000.0;  // of the cell index, with room for the ball
  const double reach = std::max({std::fabs(double(p.x)), std::fabs(double(p.y)), std::fabs(double(p.z))});
  return std::isfinite(double(p.x) + p.y + p.z) && reach * cells_per_unit_ < limit;
}

std::uint64_t PoissonThinner::hash_of(const Point& p) const {
  return core::hash_cell(cell_at(p.x * cells_per_unit_, p.y * cells_per_unit_, p.z * cells_per_unit_));
}

// Subtraction, multiplication and floor keep order under rounding, so a point nearer than the radius cannot lie in a
// cell outside [low, high].
PoissonThinner::Candidate PoissonThinner::prepare(const Point& p) const {
  const double r = radius_, s = cells_per_unit_;
  const core::Cell low = cell_at((p.x - r) * s, (p.y - r) * s, (p.z - r) * s);
  const core::Cell high = cell_at((p.x + r) * s, (p.y + r) * s, (p.z + r) * s);
  Candidate c;
  c.p = p;
  c.hashes[0] = hash_of(p);
  c.n_cells = 1;
  const std::size_t shift = 64 - kSegmentBits;
  for (std::int64_t x = low.x; x <= high.x; ++x)
    for (std::int64_t y = low.y; y <= high.y; ++y)
      for (std::int64_t z = low.z; z <= high.z; ++z) {
        const std::uint64_t hash = core::hash_cell({x, y, z});
        if (hash != c.hashes[0]) c.hashes[c.n_cells++] = hash;
      }
  for (int i = 0; i < c.n_cells; ++i) {
    const std::vector<Line>& lines = segments_[c.hashes[i] >> shift].lines;
    __builtin_prefetch(&lines[core::slot_of(c.hashes[i], lines.size())]);
  }
  return c;
}

bool PoissonThinner::line_is_free(const Line& line, const Point& p) const {
  for (std::uint32_t i = 0; i < line.count; ++i) {
    const double dx = double(line.points[i].x) - p.x, dy = double(line.points[i].y) - p.y,
                 dz = double(line.points[i].z) - p.z;
    if (dx * dx + dy * dy + dz * dz < radius2_) return false;
  }
  return true;
}

// Tests whatever lies in the lines of the cells touched, of whichever cell it is: only the distance counts.
bool PoissonThinner::is_free(const Candidate& c) const {
  for (int i = 0; i < c.n_cells; ++i) {
    const std::vector<Line>& lines = segments_[c.hashes[i] >> (64 - kSegmentBits)].lines;
    std::uint64_t at = core::slot_of(c.hashes[i], lines.size());
    for (;;) {
      if (!line_is_free(lines[at], c.p)) return false;
      if (lines[at].count < kPointsPerLine) break;
      if (++at == lines.size()) at = 0;
    }
  }
  return true;
}

void PoissonThinner::place(Segment& segment, std::uint64_t hash, const Point& p) {
  std::uint64_t at = core::slot_of(hash, segment.lines.size());
  while (segment.lines[at].count == kPointsPerLine)
    if (++at == segment.lines.size()) at = 0;
  Line& line = segment.lines[at];
  line.points[line.count++] = p;
  ++segment.count;
}

void PoissonThinner::grow(Segment& segment) {
  Segment larger;
  larger.lines.resize(static_cast<std::size_t>(kGrowth * static_cast<double>(segment.lines.size())) + 1);
  for (const Line& line : segment.lines)
    for (std::uint32_t i = 0; i < line.count; ++i) place(larger, hash_of(line.points[i]), line.points[i]);
  segment = std::move(larger);
}

void PoissonThinner::add(std::uint64_t hash, const Point& p) {
  Segment& segment = segments_[hash >> (64 - kSegmentBits)];
  const double room = kMaxLoad * kPointsPerLine * static_cast<double>(segment.lines.size());
  if (static_cast<double>(segment.count + 1) > room) grow(segment);
  place(segment, hash, p);
}

template <class T>
std::int64_t PoissonThinner::insert(const T* points, std::int64_t n, bool* keep) {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (std::int64_t i = 0; i < n; ++i)
    if (!fits(relative(points + 3 * i))) return i;
  Candidate ring[kLookAhead];
  for (std::int64_t i = 0; i < n + kLookAhead; ++i) {
    Candidate& c = ring[i % kLookAhead];
    if (const std::int64_t now = i - kLookAhead; now >= 0) {
      keep[now] = is_free(c);
      if (keep[now]) add(c.hashes[0], c.p);
    }
    if (i < n) c = prepare(relative(points + 3 * i));
  }
  return -1;
}

std::int64_t PoissonThinner::count() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::int64_t total = 0;
  for (const Segment& segment : segments_) total += segment.count;
  return total;
}

std::int64_t PoissonThinner::n_bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::size_t total = sizeof(*this);
  for (const Segment& segment : segments_) total += sizeof(Segment) + segment.lines.capacity() * sizeof(Line);
  return static_cast<std::int64_t>(total);
}

template std::int64_t PoissonThinner::insert<float>(const float*, std::int64_t, bool*);
template std::int64_t PoissonThinner::insert<double>(const double*, std::int64_t, bool*);

template <class T>
std::int64_t voxel_thin(const T* points, const double* scores, std::int64_t n, double voxel, bool* keep) {
  const double limit = 4e18;  // of a 64-bit cell index
  const auto cell_of = [&](std::int64_t i) {
    return cell_at(points[3 * i] / voxel, points[3 * i + 1] / voxel, points[3 * i + 2] / voxel);
  };
  for (std::int64_t i = 0; i < n; ++i)
    for (int k = 0; k < 3; ++k)
      if (!(std::fabs(points[3 * i + k] / voxel) < limit)) return i;
  constexpr std::uint32_t kEmpty = 0xFFFFFFFFu;
  std::vector<std::uint32_t> best(static_cast<std::size_t>(n + n / 2 + 1), kEmpty);  // open addressing, linear probing
  for (std::int64_t i = 0; i < n; ++i) {
    const core::Cell cell = cell_of(i);
    std::uint64_t at = core::slot_of(core::hash_cell(cell), best.size());
    while (best[at] != kEmpty && !(cell_of(best[at]) == cell))
      if (++at == best.size()) at = 0;
    if (best[at] == kEmpty || scores[i] > scores[best[at]]) best[at] = static_cast<std::uint32_t>(i);
  }
  std::fill(keep, keep + n, false);
  for (const std::uint32_t i : best)
    if (i != kEmpty) keep[i] = true;
  return -1;
}

template std::int64_t voxel_thin<float>(const float*, const double*, std::int64_t, double, bool*);
template std::int64_t voxel_thin<double>(const double*, const double*, std::int64_t, double, bool*);

}  // namespace uner3d::cpu
