// The cells of a grid on the CPU: of one point, in a form that loops over points are vectorised with.
#pragma once

#include <cstdint>

#include "../core/density_grid.h"
#include "../ops/density_grid.h"

namespace uner3d::cpu {

// Coordinates are contracted in place, as the caller may want to know whether they lie in the box.
template <bool kContracted, class T>
UNER3D_HD std::int32_t cell_of(const GridBox<T>& box, T& x, T& y, T& z) {
  if constexpr (kContracted) {
    const T factor = core::contraction(x, y, z);
    x *= factor, y *= factor, z *= factor;
  }
  const T n = static_cast<T>(box.n);
  const auto i = static_cast<std::int32_t>(core::cell_along(x, box.extent[0], n));
  const auto j = static_cast<std::int32_t>(core::cell_along(y, box.extent[1], n));
  const auto k = static_cast<std::int32_t>(core::cell_along(z, box.extent[2], n));
  const auto side = static_cast<std::int32_t>(box.n);
  return (i * side + j) * side + k;
}

}  // namespace uner3d::cpu
