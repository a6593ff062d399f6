// Cells of a sparse grid: which one a coordinate lies in, and where a hash table keeps it.
#pragma once

#include <cmath>
#include <cstdint>

#include "hd.h"

namespace uner3d::core {

struct Cell {
  std::int64_t x, y, z;
};

UNER3D_HD bool operator==(const Cell& a, const Cell& b) { return a.x == b.x && a.y == b.y && a.z == b.z; }

// Spreads the cells over 64 bits: three odd multipliers, then the finaliser of MurmurHash3, so that every output bit
// depends on every coordinate.
UNER3D_HD std::uint64_t hash_cell(const Cell& cell) {
  std::uint64_t h = static_cast<std::uint64_t>(cell.x) * 0x9E3779B97F4A7C15ull +
                    static_cast<std::uint64_t>(cell.y) * 0xC2B2AE3D27D4EB4Full +
                    static_cast<std::uint64_t>(cell.z) * 0x165667B19E3779F9ull;
  h = (h ^ (h >> 33)) * 0xFF51AFD7ED558CCDull;
  h = (h ^ (h >> 33)) * 0xC4CEB9FE1A85EC53ull;
  return h ^ (h >> 33);
}

// Maps a hash to [0, n) by its low 32 bits, without a division; n < 2^32.
UNER3D_HD std::uint64_t slot_of(std::uint64_t hash, std::uint64_t n) { return ((hash & 0xFFFFFFFFull) * n) >> 32; }

}  // namespace uner3d::core
