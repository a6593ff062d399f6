#include <cuda_runtime.h>

#include "../ops/device.h"

namespace uner3d::cuda {
namespace {

std::string version(int number) { return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10); }

std::string find_problem() {
  int runtime = 0, driver = 0, n_devices = 0;
  (void)cudaRuntimeGetVersion(&runtime);
  (void)cudaDriverGetVersion(&driver);
  const cudaError_t status = cudaGetDeviceCount(&n_devices);
  (void)cudaGetLastError();
  if (driver == 0) return "no NVIDIA driver was found: CUDA cannot be used on this machine; pass CPU tensors";
  if (status == cudaErrorInsufficientDriver)
    return "the NVIDIA driver supports CUDA " + version(driver) + ", older than the CUDA " + version(runtime) +
           " that uner3d was built with: update the driver, or reinstall uner3d with an older CUDA compiler";
  if (status == cudaErrorNoDevice || (status == cudaSuccess && n_devices == 0))
    return "no CUDA device was found (is CUDA_VISIBLE_DEVICES set to hide it?); pass CPU tensors";
  if (status != cudaSuccess)
    return std::string("CUDA cannot be used: cudaGetDeviceCount: ") + cudaGetErrorString(status);
  return "";
}

}  // namespace

bool is_built() { return true; }

// Asked once: neither driver nor devices change while a process lives, and every op asks.
std::string problem() {
  static const std::string found = find_problem();
  return found;
}

}  // namespace uner3d::cuda
