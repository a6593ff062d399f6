#include "patch_match_args.h"

namespace uner3d::bind {
namespace {

template <class T>
void bind_cpu(py::module_& m) {
  define_patch_match<T, int>(m, typed<T>("patch_match_forward"), cpu::patch_match_forward<T>);
}

}  // namespace

void bind_patch_match(py::module_& m) {
  bind_cpu<float>(m);
  bind_cpu<double>(m);
  m.attr("max_patch_sources") = kMaxPatchSources;
}

}  // namespace uner3d::bind
