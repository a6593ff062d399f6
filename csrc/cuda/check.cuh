// Turns CUDA errors into exceptions that name the call.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace uner3d::cuda {

// `what` is the call or the kernel. The error is also taken from the runtime's own record, or the next check of a
// launch would report it again.
inline void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();
  throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status) + " (" + cudaGetErrorName(status) +
                           ")");
}

// To be called right after a kernel launch; finds wrong launch parameters and a missing image for the device, and does
// not wait for the kernel.
inline void check_launch(const char* kernel) { check(cudaGetLastError(), kernel); }

}  // namespace uner3d::cuda

#define UNER3D_CUDA_CHECK(call) ::uner3d::cuda::check((call), #call)
