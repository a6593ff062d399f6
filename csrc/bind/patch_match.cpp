#include "../ops/patch_match.h"

#include "bind.h"

namespace uner3d::bind {
namespace {

template <class T>
void bind_cpu(py::module_& m) {
  m.def(typed<T>("patch_match_forward").c_str(),
        [](Address images, Address K, Address cam_from_world, std::int64_t n_views, std::int64_t height,
           std::int64_t width, std::int64_t reference, Address sources, std::int64_t n_sources, Address depth,
           Address normal, Address out_depth, Address out_normal, Address score, Address chosen, double near,
           double far, double reach, double least_variance, int n_best, int side, int step, int n_iterations,
           std::uint32_t seed, int n_threads) {
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
          cpu::patch_match_forward(args, n_threads);
        });
}

}  // namespace

void bind_patch_match(py::module_& m) {
  bind_cpu<float>(m);
  bind_cpu<double>(m);
  m.attr("max_patch_sources") = kMaxPatchSources;
}

}  // namespace uner3d::bind
