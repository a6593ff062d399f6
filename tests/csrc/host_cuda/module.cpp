// The bindings of the CUDA kernels, with the kernels compiled for the host.
#include "../../../csrc/bind/bind.h"
#include "../../../csrc/cuda/enqueue.cuh"

namespace {

// One lane misses a warp-wide operation, or stands at another one: to see that these are found.
void misses(bool elsewhere) {
  if (threadIdx.x != 3) {
    (void)__ballot_sync(0xffffffffu, true);
  } else if (elsewhere) {
    (void)__any_sync(0xffffffffu, true);
  }
}

}  // namespace

PYBIND11_MODULE(host_cuda_module, m) {
  using namespace uner3d::bind;
  bind_fuse_views_cuda(m);
  bind_sample_views_cuda(m);
  bind_view_weights_cuda(m);
  bind_composite_cuda(m);
  bind_patch_match_cuda(m);
  bind_patch_ncc_cuda(m);
  m.def("run_broken", [](bool elsewhere) { uner3d::cuda::enqueue("broken", misses, 1u, 0, nullptr, elsewhere); });
  m.def("run_backwards", [](bool on) { host_cuda::backwards = on; });
}
