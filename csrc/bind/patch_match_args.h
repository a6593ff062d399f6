// The arguments of patch matching, which both back ends take before their own.
#pragma once

#include "../ops/patch_match.h"
#include "bind.h"

namespace uner3d::bind {

// Defines `name`; run(args, tail...) is called without the interpreter's lock.
template <class T, class... Tail, class Run>
void define_patch_match(py::module_& m, const std::string& name, Run run) {
  m.def(name.c_str(),
        [run](Address images, Address K, Address cam_from_world, std::int64_t n_views, std::int64_t height,
              std::int64_t width, std::int64_t reference, Address sources, std::int64_t n_sources, Address depth,
              Address normal, Address out_depth, Address out_normal, Address score, Address chosen, double near,
              double far, double reach, double least_variance, int n_best, int side, int step, int n_iterations,
              std::uint32_t seed, Tail... tail) {
          PatchMatchArgs<T> args{};
          args.views = {pointer<const T>(K), pointer<const T>(cam_from_world), n_views, height, width};
          args.images = pointer<const T>(images);
          args.depth = pointer<const T>(depth), args.normal = pointer<const T>(normal);
          args.out_depth = pointer<T>(out_depth), args.out_normal = pointer<T>(out_normal);
          args.score = pointer<T>(score), args.chosen = pointer<std::int32_t>(chosen);
          args.sources = pointer<const std::int64_t>(sources);
          args.reference = reference, args.n_sources = n_sources;
          args.near = static_cast<T>(near), args.far = static_cast<T>(far), args.reach = static_cast<T>(reach);
          args.least_variance = static_cast<T>(least_variance);
          args.n_best = n_best, args.side = side, args.step = step, args.n_iterations = n_iterations;
          args.seed = seed;
          py::gil_scoped_release nogil;
          run(args, tail...);
        });
}

}  // namespace uner3d::bind
