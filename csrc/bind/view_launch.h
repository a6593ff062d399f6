// The last arguments of all CUDA kernels over views.
#pragma once

#include "../ops/views.h"
#include "bind.h"

namespace uner3d::bind {

inline cuda::ViewLaunch view_launch(int map_type, Address cameras, int device, Address stream) {
  return {static_cast<cuda::MapType>(map_type), pointer<float>(cameras), device, pointer<void>(stream)};
}

inline cuda::ViewPairs view_pairs(Address keys, Address order, std::int64_t n_pairs, std::int64_t first_point) {
  return {pointer<const std::int64_t>(keys), pointer<const std::int64_t>(order), n_pairs, first_point};
}

}  // namespace uner3d::bind
