// The bindings of some ops, with their CUDA kernels run on the CPU.
#include "../../../csrc/bind/bind.h"
#include "cuda_runtime.h"

PYBIND11_MODULE(cuda_on_cpu, m) {
  uner3d::bind::bind_knn(m);
  uner3d::bind::bind_knn_cuda(m);
  m.def("seed", [](unsigned seed) { cuda_on_cpu::random_order.seed(seed); });
}
