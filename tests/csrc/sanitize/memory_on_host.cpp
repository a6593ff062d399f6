// In place of memory.cu where the kernels are emulated: memory of the host, filled with what no result can hide.
#include <cstdlib>
#include <cstring>

#include "memory.h"

namespace sanitize {

void* allocate(std::size_t n_bytes) {
  if (n_bytes == 0) return nullptr;
  void* p = std::aligned_alloc(256, (n_bytes + 255) / 256 * 256);  // as cudaMalloc aligns
  return std::memset(p, 0xFF, n_bytes);                            // NaN as floats
}
void release(void* p) { std::free(p); }
void upload(void* to, const void* from, std::size_t n_bytes) {
  if (n_bytes > 0) std::memcpy(to, from, n_bytes);
}
void download(void* to, const void* from, std::size_t n_bytes) { upload(to, from, n_bytes); }
void clear(void* p, std::size_t n_bytes) {
  if (n_bytes > 0) std::memset(p, 0, n_bytes);
}
void* stream() { return nullptr; }
const char* problem() { return ""; }
void shut_down() {}

}  // namespace sanitize
