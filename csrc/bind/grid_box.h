// The box of a density grid as the ops over one take it.
#pragma once

#include "../ops/density_grid.h"
#include "bind.h"

namespace uner3d::bind {

template <class T>
GridBox<T> grid_box(Address extent, std::int64_t n, bool contracted) {
  const T* e = pointer<const T>(extent);
  return {{e[0], e[1], e[2]}, n, contracted};
}

}  // namespace uner3d::bind
