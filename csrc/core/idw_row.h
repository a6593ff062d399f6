// Inverse-distance weighting of one query whose neighbours lie in columns: entry j at [j * stride]. Columns in shared
// memory let loops over neighbours stay loops, where registers would have to be unrolled.
//
// Args has weights, normals, query_normals, queries, power and softening2 as IdwArgs (ops/idw.h), and tree.points.
#pragma once

#include <cstdint>

#include "idw.h"

namespace uner3d::core {

struct NeighbourColumns {
  std::int32_t* index;
  float* dist2;
  int stride;

  UNER3D_HD std::int64_t point(int j) const { return index[j * stride]; }
  UNER3D_HD float& distance2(int j) const { return dist2[j * stride]; }
};

struct IdwRow {
  int n;                 // neighbours that were found; 0 where none of them counts and weighs something
  std::uint64_t counts;  // bit j: neighbour j counts
  float sum;             // of weights
  IdwScale<float> scale;
};

// Neighbours whose normal looks the same way as the query's; all where none does.
template <class Args>
UNER3D_HD std::uint64_t choose_by_normals(const Args& a, std::int64_t row, const NeighbourColumns& found, int n) {
  std::uint64_t counts = 0;
  if (a.normals != nullptr) {
    const float* v = a.query_normals + 3 * row;
    for (int j = 0; j < n; ++j) {
      const float* u = a.normals + 3 * found.point(j);
      if (u[0] * v[0] + u[1] * v[1] + u[2] * v[2] > 0.0f) counts |= std::uint64_t(1) << j;
    }
  }
  return counts != 0 ? counts : ~std::uint64_t(0);
}

template <class Args>
UNER3D_HD float own_weight(const Args& a, std::int64_t point) {
  return a.weights != nullptr ? a.weights[point] : 1.0f;
}

// Weight of neighbour j without the point's own.
UNER3D_HD float idw_row_inverse(const IdwRow& r, int j, float dist2) {
  return ((r.counts >> j) & 1) != 0 ? idw_inverse(idw_denominator(r.scale, dist2)) : 0.0f;
}

template <class Args>
UNER3D_HD IdwRow weigh_row(const Args& a, std::int64_t row, const NeighbourColumns& found, int n) {
  IdwRow r{n, choose_by_normals(a, row, found, n), 0.0f, {}};
  int nearest = 0;  // that counts and weighs something
  while (nearest < n && !(((r.counts >> nearest) & 1) != 0 && own_weight(a, found.point(nearest)) > 0.0f)) ++nearest;
  if (nearest == n) {
    r.n = 0;
    return r;
  }
  const float softening2 = a.softening2 < 0.0f ? default_softening2(found.distance2(n - 1), n) : a.softening2;
  r.scale = idw_scale(found.distance2(nearest), softening2, a.power);
  for (int j = 0; j < n; ++j) r.sum += idw_row_inverse(r, j, found.distance2(j)) * own_weight(a, found.point(j));
  return r;
}

// Part of neighbour j in the mean.
template <class Args>
UNER3D_HD float row_share(const Args& a, const IdwRow& r, const NeighbourColumns& found, int j) {
  return idw_row_inverse(r, j, found.distance2(j)) * own_weight(a, found.point(j)) / r.sum;
}

// What neighbour j gets from the gradient g of the row: `value` times g for its values, the others by its weight and,
// times (query - point), by the position of the query (minus that for its own).
struct IdwPair {
  float value, weight, position;
};

// `slope` is g . (value_j - mean) / sum.
template <class Args>
UNER3D_HD IdwPair differentiate_pair(const Args& a, const IdwRow& r, const NeighbourColumns& found, int j,
                                     float slope) {
  const float dist2 = found.distance2(j), inverse = idw_row_inverse(r, j, dist2), own = own_weight(a, found.point(j));
  return {inverse * own / r.sum, slope * inverse, slope * own * idw_inverse_slope(r.scale, dist2, inverse)};
}

}  // namespace uner3d::core
