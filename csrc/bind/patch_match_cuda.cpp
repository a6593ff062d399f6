#include "patch_match_args.h"

namespace uner3d::bind {

void bind_patch_match_cuda(py::module_& m) {
  m.def("patch_match_scratch_cuda", cuda::patch_match_scratch);
  define_patch_match<float, Address, int, Address>(
      m, "patch_match_forward_cuda",
      [](const PatchMatchArgs<float>& args, Address scratch, int device, Address stream) {
        cuda::patch_match_forward(args, pointer<void>(scratch), device, pointer<void>(stream));
      });
}

}  // namespace uner3d::bind
