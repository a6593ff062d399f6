// Stands in for the CUDA kernels in builds without them.
#include <stdexcept>

#include "../ops/device.h"
#include "../ops/idw.h"
#include "../ops/knn.h"
#include "../ops/positional_encoding.h"

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
}  // namespace uner3d::cuda
