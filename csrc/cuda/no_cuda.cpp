// Stands in for the CUDA kernels in builds without them.
#include <stdexcept>

#include "../ops/device.h"
#include "../ops/positional_encoding.h"

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
}  // namespace uner3d::cuda
