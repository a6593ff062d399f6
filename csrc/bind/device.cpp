// What this build and this machine can do.
#include "../ops/device.h"

#include "bind.h"

namespace uner3d::bind {
namespace {
const char* best_isa() {
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd"))
    return "avx512";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) return "avx2";
#endif
  return "baseline";
}
}  // namespace

void bind_device(py::module_& m) {
  m.def("best_isa", &best_isa, "Widest instruction set of this CPU for which kernels are built.");
  m.def("cuda_built", &cuda::is_built, "Whether the CUDA kernels were compiled in.");
  m.def("cuda_problem", &cuda::problem, "Why CUDA cannot be used here, in a sentence; empty when it can.");
}
}  // namespace uner3d::bind
