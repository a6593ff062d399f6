// What the binding files share: addresses arrive as integers, so that no torch header is needed.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "../ops/knn.h"

namespace uner3d::bind {

namespace py = pybind11;
using Address = std::uintptr_t;

template <class T>
T* pointer(Address address) {
  return reinterpret_cast<T*>(address);
}

template <class T>
std::string typed(const char* name) {
  return std::string(name) + (sizeof(T) == 4 ? "_f32" : "_f64");
}

// Addresses of points, leaves, order, boxes and lowest, then the number of points.
template <class T>
KnnTree<T> make_tree(Address points, Address leaves, Address order, Address boxes, Address lowest, std::int64_t n) {
  return {pointer<const T>(points),
          pointer<const T>(leaves),
          pointer<const std::int32_t>(order),
          pointer<const T>(boxes),
          pointer<const std::int32_t>(lowest),
          n};
}

void bind_positional_encoding(py::module_& m);
void bind_knn(py::module_& m);
void bind_knn_cuda(py::module_& m);  // after bind_knn
void bind_fuse_views(py::module_& m);
void bind_fuse_views_cuda(py::module_& m);
void bind_view_weights(py::module_& m);
void bind_view_weights_cuda(py::module_& m);
void bind_sample_views(py::module_& m);
void bind_sample_views_cuda(py::module_& m);
void bind_blend_views(py::module_& m);
void bind_composite(py::module_& m);
void bind_composite_cuda(py::module_& m);
void bind_patch_match(py::module_& m);
void bind_patch_match_cuda(py::module_& m);
void bind_patch_ncc(py::module_& m);
void bind_patch_ncc_cuda(py::module_& m);
void bind_density_grid(py::module_& m);
void bind_ray_edges(py::module_& m);
void bind_sample_voxels(py::module_& m);
void bind_thin(py::module_& m);
void bind_device(py::module_& m);
void bind_output(py::module_& m);

}  // namespace uner3d::bind
