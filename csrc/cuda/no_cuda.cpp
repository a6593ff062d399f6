// Stands in for the CUDA kernels in builds without them.
#include <stdexcept>

#include "../ops/composite.h"
#include "../ops/device.h"
#include "../ops/fuse_views.h"
#include "../ops/positional_encoding.h"
#include "../ops/sample_views.h"
#include "../ops/view_weights.h"

namespace uner3d::cuda {
namespace {
const char* const kAbsent = "uner3d was built without CUDA: install a CUDA compiler (nvcc) and reinstall the package";
}

bool is_built() { return false; }
std::string problem() { return kAbsent; }

void positional_encoding_forward(const PositionalEncodingArgs<float>&, int, void*) {
  throw std::runtime_error(kAbsent);
}
void positional_encoding_backward(const PositionalEncodingGradArgs<float>&, int, void*) {
  throw std::runtime_error(kAbsent);
}

void view_pair_keys(const Views<float>&, const float*, std::int64_t, std::int64_t*, const ViewLaunch&) {
  throw std::runtime_error(kAbsent);
}
void fuse_views_forward(const FuseViewsArgs<float>&, const ViewLaunch&) { throw std::runtime_error(kAbsent); }
void fuse_views_backward(const FuseViewsGradArgs<float>&, double*, const ViewLaunch&) {
  throw std::runtime_error(kAbsent);
}
void fuse_views_backward_sorted(const FuseViewsGradArgs<float>&, const ViewPairs&, const ViewLaunch&) {
  throw std::runtime_error(kAbsent);
}
std::int64_t fuse_views_partial_rows(std::int64_t, std::int64_t) { throw std::runtime_error(kAbsent); }
void sample_views_forward(const SampleViewsArgs<float>&, const ViewLaunch&) { throw std::runtime_error(kAbsent); }
void sample_views_backward(const SampleViewsGradArgs<float>&, const ViewLaunch&) { throw std::runtime_error(kAbsent); }
void sample_views_backward_sorted(const SampleViewsGradArgs<float>&, const ViewPairs&, const ViewLaunch&) {
  throw std::runtime_error(kAbsent);
}
void view_weights_forward(const ViewWeightsArgs<float>&, const ViewLaunch&) { throw std::runtime_error(kAbsent); }
void view_weights_backward(const ViewWeightsGradArgs<float>&, const ViewLaunch&) { throw std::runtime_error(kAbsent); }
void view_weights_backward_sorted(const ViewWeightsGradArgs<float>&, const ViewPairs&, const ViewLaunch&) {
  throw std::runtime_error(kAbsent);
}
void composite_forward(const CompositeArgs<float>&, int, void*) { throw std::runtime_error(kAbsent); }
void composite_backward(const CompositeGradArgs<float>&, int, void*) { throw std::runtime_error(kAbsent); }
}  // namespace uner3d::cuda
