// A kernel launch as a function call: the sources stay plain C++, so that tests can compile them for the host too.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "check.cuh"
#include "launch.cuh"

namespace uner3d::cuda {

// Puts kernel(args...) on the stream; `name` is what an error will be called by. Does not wait.
template <class... Params, class... Args>
void enqueue_blocks(const char* name, void (*kernel)(Params...), unsigned n_blocks, int n_threads,
                    std::size_t shared_bytes, void* stream, const Args&... args) {
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(n_blocks);
  config.blockDim = dim3(static_cast<unsigned>(n_threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = static_cast<cudaStream_t>(stream);
  check(cudaLaunchKernelEx(&config, kernel, args...), name);
}

// The same with blocks of kThreads.
template <class... Params, class... Args>
void enqueue(const char* name, void (*kernel)(Params...), unsigned n_blocks, std::size_t shared_bytes, void* stream,
             const Args&... args) {
  enqueue_blocks(name, kernel, n_blocks, kThreads, shared_bytes, stream, args...);
}

}  // namespace uner3d::cuda
