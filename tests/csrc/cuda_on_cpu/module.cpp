// The bindings of some ops, with their CUDA kernels run on the CPU.
#include <pybind11/stl.h>

#include "../../../csrc/bind/bind.h"
#include "cuda_runtime.h"

namespace {

// Each of 64 threads gives its number to its opposite, waiting for nobody (0), for its warp (1) or for the block (2).
std::vector<unsigned> pass_on(int barrier) {
  std::vector<unsigned> shared(64), out(64);
  cuda_on_cpu::launch(1, 64, [&] {
    shared[threadIdx.x] = threadIdx.x;
    if (barrier == 1) __syncwarp();
    if (barrier == 2) __syncthreads();
    out[threadIdx.x] = shared[63 - threadIdx.x];
  });
  return out;
}

}  // namespace

PYBIND11_MODULE(cuda_on_cpu, m) {
  uner3d::bind::bind_knn(m);
  uner3d::bind::bind_knn_cuda(m);
  m.def("use_whole_grids", [](bool whole) { cuda_on_cpu::whole_grids = whole; });
  m.def("pass_on", &pass_on);
  m.def("seed", [](unsigned seed) { cuda_on_cpu::random_order.seed(seed); });
}
