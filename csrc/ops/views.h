// The cameras that fuse_views, sample_views and view_weights share.
#pragma once

#include <cstdint>

namespace uner3d {

template <class T>
struct Views {
  const T* K;                           // (n_views, 3, 3) pixels of the maps; upper triangular, last row (0, 0, 1)
  const T* cam_from_world;              // (n_views, 3, 4)
  std::int64_t n_views, height, width;  // height * width < 2^31
};

namespace cuda {

enum class MapType : int { kFloat32, kFloat16, kBfloat16 };

// Where and how the CUDA kernels over views run. They allocate nothing and never wait.
struct ViewLaunch {
  MapType map_type;  // of the elements that `maps` points to; all else is float, and so are gradients of maps
  float* cameras;    // scratch: n_views * kCameraFloats, free again once the stream has passed the launch
  int device;
  void* stream;  // a cudaStream_t of that device
};

constexpr int kCameraFloats = 15;

// (point, view) pairs sorted by the pixel of the first tap: gradients of maps without atomics, hence the same bits
// each time.
struct ViewPairs {
  const std::int64_t* keys;   // (n_pairs,) (view * height + row) * width + column, ascending; unseen ones come last
  const std::int64_t* order;  // (n_pairs,) (point - first_point) * n_views + view
  std::int64_t n_pairs, first_point;
};

// Writes the key of each pair (n_points, n_views), in the order of the pairs.
void view_pair_keys(const Views<float>& views, const float* points, std::int64_t n_points, std::int64_t* keys,
                    const ViewLaunch& launch);

}  // namespace cuda

}  // namespace uner3d
