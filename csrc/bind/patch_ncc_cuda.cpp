#include "patch_ncc_args.h"

namespace uner3d::bind {

void bind_patch_ncc_cuda(py::module_& m) {
  m.def("patch_ncc_scratch_cuda", cuda::patch_ncc_scratch);
  define_patch_ncc<float, Address, Address, int, Address>(
      m, "patch_ncc_forward_cuda",
      [](const PatchNccArgs<float>& args, Address scores, Address scratch, int device, Address stream) {
        cuda::patch_ncc_forward(args, pointer<float>(scores), pointer<void>(scratch), device, pointer<void>(stream));
      });
  define_patch_ncc<float, Address, Address, Address, Address, int, Address>(
      m, "patch_ncc_backward_cuda",
      [](const PatchNccArgs<float>& args, Address scores, Address depth, Address normal, Address scratch, int device,
         Address stream) {
        cuda::patch_ncc_backward(args, patch_ncc_grads<float>(scores, depth, normal), pointer<void>(scratch), device,
                                 pointer<void>(stream));
      });
}

}  // namespace uner3d::bind
