// Stands in for the CUDA kernels in builds without them.
#include <stdexcept>

#include "../ops/composite.h"
#include "../ops/device.h"
#include "../ops/fuse_views.h"
#include "../ops/idw.h"
#include "../ops/knn.h"
#include "../ops/patch_match.h"
#include "../ops/patch_ncc.h"
#include "../ops/positional_encoding.h"
#include "../ops/sample_views.h"
#include "../ops/view_weights.h"

namespace uner3d::cuda {
namespace {
const char* const kAbsent = "uner3d was built without CUDA: install a CUDA compiler (nvcc) and reinstall the package";
[[noreturn]] void refuse() { throw std::runtime_error(kAbsent); }
}  // namespace

bool is_built() { return false; }
std::string problem() { return kAbsent; }

void positional_encoding_forward(const PositionalEncodingArgs<float>&, int, void*) { refuse(); }
void positional_encoding_backward(const PositionalEncodingGradArgs<float>&, int, void*) { refuse(); }

std::int64_t knn_build_scratch(std::int64_t, int) { refuse(); }
void knn_build(const KnnBuildArgs<float>&, void*, int, void*) { refuse(); }
std::int64_t knn_forward_scratch(std::int64_t, int) { refuse(); }
void knn_forward(const KnnArgs<float>&, void*, int, void*) { refuse(); }
std::int64_t knn_backward_scratch(std::int64_t, int, int) { refuse(); }
void knn_backward(const KnnGradArgs<float>&, void*, int, void*) { refuse(); }

std::int64_t idw_forward_scratch(std::int64_t, int) { refuse(); }
void idw_forward(const IdwArgs<float>&, const TypedRows&, const TypedRows&, void*, int, void*) { refuse(); }
std::int64_t idw_backward_scratch(std::int64_t, int, bool, int) { refuse(); }
void idw_backward(const IdwArgs<float>&, const TypedRows&, const void*, const IdwGrads<float>&, bool, void*, int,
                  void*) {
  refuse();
}

void view_pair_keys(const Views<float>&, const float*, std::int64_t, std::int64_t*, const ViewLaunch&) { refuse(); }
void fuse_views_forward(const FuseViewsArgs<float>&, const ViewLaunch&) { refuse(); }
void fuse_views_backward(const FuseViewsGradArgs<float>&, double*, const ViewLaunch&) { refuse(); }
void fuse_views_backward_sorted(const FuseViewsGradArgs<float>&, const ViewPairs&, const ViewLaunch&) { refuse(); }
std::int64_t fuse_views_partial_rows(std::int64_t, std::int64_t) { refuse(); }
void sample_views_forward(const SampleViewsArgs<float>&, const ViewLaunch&) { refuse(); }
void sample_views_backward(const SampleViewsGradArgs<float>&, const ViewLaunch&) { refuse(); }
void sample_views_backward_sorted(const SampleViewsGradArgs<float>&, const ViewPairs&, const ViewLaunch&) { refuse(); }
void view_weights_forward(const ViewWeightsArgs<float>&, const ViewLaunch&) { refuse(); }
void view_weights_backward(const ViewWeightsGradArgs<float>&, const ViewLaunch&) { refuse(); }
void view_weights_backward_sorted(const ViewWeightsGradArgs<float>&, const ViewPairs&, const ViewLaunch&) { refuse(); }
void composite_forward(const CompositeArgs<float>&, int, void*) { refuse(); }
void composite_backward(const CompositeGradArgs<float>&, int, void*) { refuse(); }

std::int64_t patch_match_scratch(std::int64_t) { refuse(); }
void patch_match_forward(const PatchMatchArgs<float>&, void*, int, void*) { refuse(); }
std::int64_t patch_ncc_scratch(std::int64_t, std::int64_t) { refuse(); }
void patch_ncc_forward(const PatchNccArgs<float>&, float*, void*, int, void*) { refuse(); }
void patch_ncc_backward(const PatchNccArgs<float>&, const PatchNccGrads<float>&, void*, int, void*) { refuse(); }
}  // namespace uner3d::cuda
