// The arguments of patch_ncc, which both back ends take before their own.
#pragma once

#include "../ops/patch_ncc.h"
#include "bind.h"

namespace uner3d::bind {

// Defines `name`; run(args, rest...) is called without the interpreter's lock. The rest starts with what is written.
template <class T, class... Rest, class Run>
void define_patch_ncc(py::module_& m, const std::string& name, Run run) {
  m.def(name.c_str(),
        [run](Address images, Address K, Address cam_from_world, std::int64_t n_views, std::int64_t height,
              std::int64_t width, Address references, Address pixels, Address depth, Address normal,
              std::int64_t n_pixels, Address sources, std::int64_t n_sources, int side, int step, Rest... rest) {
          const PatchNccArgs<T> args{{pointer<const T>(K), pointer<const T>(cam_from_world), n_views, height, width},
                                     pointer<const T>(images),
                                     pointer<const std::int64_t>(references),
                                     pointer<const std::int64_t>(pixels),
                                     pointer<const T>(depth),
                                     pointer<const T>(normal),
                                     pointer<const std::int64_t>(sources),
                                     n_pixels,
                                     n_sources,
                                     side,
                                     step};
          py::gil_scoped_release nogil;
          run(args, rest...);
        });
}

template <class T>
PatchNccGrads<T> patch_ncc_grads(Address scores, Address depth, Address normal) {
  return {pointer<const T>(scores), pointer<T>(depth), pointer<T>(normal)};
}

}  // namespace uner3d::bind
