// What the CUDA part of this build can do on this machine.
#pragma once

#include <string>

namespace uner3d::cuda {
bool is_built();
// Empty when kernels can run; otherwise a sentence that says why not (not built, driver too old, no device).
std::string problem();
}  // namespace uner3d::cuda
