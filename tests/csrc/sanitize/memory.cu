#include <string>

#include "../../../csrc/cuda/check.cuh"
#include "../../../csrc/ops/device.h"
#include "memory.h"

namespace sanitize {

void* allocate(std::size_t n_bytes) {
  void* p = nullptr;
  if (n_bytes > 0) UNER3D_CUDA_CHECK(cudaMalloc(&p, n_bytes));
  return p;
}

void release(void* p) { (void)cudaFree(p); }  // called by destructors: errors show at the next call

// Not the default stream, which would wait for everything and hide a kernel that runs elsewhere.
void* stream() {
  static cudaStream_t made = [] {
    cudaStream_t s = nullptr;
    UNER3D_CUDA_CHECK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
    return s;
  }();
  return made;
}

void upload(void* to, const void* from, std::size_t n_bytes) {
  if (n_bytes == 0) return;
  const auto s = static_cast<cudaStream_t>(stream());
  UNER3D_CUDA_CHECK(cudaMemcpyAsync(to, from, n_bytes, cudaMemcpyHostToDevice, s));
  UNER3D_CUDA_CHECK(cudaStreamSynchronize(s));
}

void download(void* to, const void* from, std::size_t n_bytes) {
  const auto s = static_cast<cudaStream_t>(stream());
  if (n_bytes > 0) UNER3D_CUDA_CHECK(cudaMemcpyAsync(to, from, n_bytes, cudaMemcpyDeviceToHost, s));
  UNER3D_CUDA_CHECK(cudaStreamSynchronize(s));
}

void clear(void* p, std::size_t n_bytes) {
  if (n_bytes > 0) UNER3D_CUDA_CHECK(cudaMemsetAsync(p, 0, n_bytes, static_cast<cudaStream_t>(stream())));
}

const char* problem() {
  static const std::string found = uner3d::cuda::problem();
  return found.c_str();
}

void shut_down() {
  UNER3D_CUDA_CHECK(cudaStreamDestroy(static_cast<cudaStream_t>(stream())));
  UNER3D_CUDA_CHECK(cudaDeviceReset());  // memcheck looks for leaks here
}

}  // namespace sanitize
