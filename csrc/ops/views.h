// The cameras that fuse_views, sample_views and view_weights share.
#pragma once

#include <cstdint>

namespace uner3d {

template <class T>
struct Views {
  const T* K;               // (n_views, 3, 3) pixels of the maps; upper triangular, last row (0, 0, 1)
  const T* cam_from_world;  // (n_views, 3, 4)
  std::int64_t n_views, height, width;
};

}  // namespace uner3d
