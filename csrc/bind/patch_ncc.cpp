#include "patch_ncc_args.h"

namespace uner3d::bind {
namespace {

template <class T>
void bind_cpu(py::module_& m) {
  define_patch_ncc<T, Address, int>(m, typed<T>("patch_ncc_forward"),
                                    [](const PatchNccArgs<T>& args, Address scores, int n_threads) {
                                      cpu::patch_ncc_forward(args, pointer<T>(scores), n_threads);
                                    });
  define_patch_ncc<T, Address, Address, Address, int>(
      m, typed<T>("patch_ncc_backward"),
      [](const PatchNccArgs<T>& args, Address scores, Address depth, Address normal, int n_threads) {
        cpu::patch_ncc_backward(args, patch_ncc_grads<T>(scores, depth, normal), n_threads);
      });
}

}  // namespace

void bind_patch_ncc(py::module_& m) {
  bind_cpu<float>(m);
  bind_cpu<double>(m);
}

}  // namespace uner3d::bind
