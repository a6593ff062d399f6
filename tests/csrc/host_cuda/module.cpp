// The bindings of the CUDA kernels, with the kernels compiled for the host.
#include "../../../csrc/bind/bind.h"
#include "fibers.h"

PYBIND11_MODULE(host_cuda_module, m) {
  using namespace uner3d::bind;
  bind_fuse_views_cuda(m);
  bind_sample_views_cuda(m);
  bind_view_weights_cuda(m);
  bind_composite_cuda(m);
  m.def("run_backwards", [](bool on) { host_cuda::backwards = on; });
}
