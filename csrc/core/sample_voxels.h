// A lattice of n^3 values over a box [-extent, extent], the outermost of which lie on its walls, read between them.
#pragma once

#include <cmath>
#include <cstdint>

#include "hd.h"

namespace uner3d::core {

// The lower of the two layers that a coordinate lies between, and which part of the way to the upper one it lies.
template <class T>
struct Between {
  std::int64_t low;
  T part;
};

// Of a coordinate inside the box; n is at least 2.
template <class T>
UNER3D_HD Between<T> layers_around(T x, T extent, std::int64_t n) {
  const T at = (x / extent + T(1)) * (T(n - 1) * T(0.5));
  std::int64_t low = static_cast<std::int64_t>(at);
  low = low < n - 2 ? low : n - 2;
  return {low, at - T(low)};
}

// Whether a point lies in the box; not where a coordinate is no number.
template <class T>
UNER3D_HD bool in_box(const T* x, const T* extent) {
  return std::fabs(x[0]) <= extent[0] && std::fabs(x[1]) <= extent[1] && std::fabs(x[2]) <= extent[2];
}

// The value at a point between the two layers of each axis that `around` names.
template <class T>
UNER3D_HD T read_between(const T* values, std::int64_t n, const Between<T>* around) {
  T sums[2];
  for (int i = 0; i < 2; ++i) {
    T rows[2];
    for (int j = 0; j < 2; ++j) {
      const T* row = values + ((around[0].low + i) * n + around[1].low + j) * n + around[2].low;
      rows[j] = row[0] + around[2].part * (row[1] - row[0]);
    }
    sums[i] = rows[0] + around[1].part * (rows[1] - rows[0]);
  }
  return sums[0] + around[0].part * (sums[1] - sums[0]);
}

}  // namespace uner3d::core
