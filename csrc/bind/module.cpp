// One module per instruction set; UNER3D_MODULE is its name.
#include "bind.h"

PYBIND11_MODULE(UNER3D_MODULE, m) {
  using namespace uner3d::bind;
  m.doc() = "Kernels of uner3d. Private: use uner3d.ops.";
  bind_device(m);
  bind_output(m);
  bind_positional_encoding(m);
  bind_knn(m);
  bind_knn_cuda(m);
  bind_fuse_views(m);
  bind_fuse_views_cuda(m);
  bind_view_weights(m);
  bind_view_weights_cuda(m);
  bind_sample_views(m);
  bind_sample_views_cuda(m);
  bind_blend_views(m);
  bind_composite(m);
  bind_composite_cuda(m);
  bind_patch_match(m);
  bind_patch_match_cuda(m);
  bind_patch_ncc(m);
  bind_patch_ncc_cuda(m);
  bind_density_grid(m);
  bind_ray_edges(m);
  bind_sample_voxels(m);
  bind_thin(m);
}
