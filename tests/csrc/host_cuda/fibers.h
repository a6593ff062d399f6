// The threads of a block as fibers, and the warp-wide operations at which they give way.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
inline dim3 threadIdx, blockIdx, blockDim, gridDim;  // of the fiber that runs

namespace host_cuda {

inline bool backwards = false;  // the order in which fibers run: a kernel without races gives the same either way

[[noreturn]] void fail(const char* what);
void run_grid(unsigned n_blocks, unsigned n_threads, std::size_t shared_bytes, const std::function<void()>& kernel);

// Waits until all lanes of the warp have come to `where`, then returns what each of the 32 brought.
const std::uint64_t* exchange(const char* where, unsigned mask, std::uint64_t value);
void sync_block(const char* where);

inline int lane() { return static_cast<int>(threadIdx.x & 31); }
inline int up(int lane, int d, int width) { return (lane & (width - 1)) >= d ? lane - d : lane; }
inline int down(int lane, int d, int width) { return (lane & (width - 1)) + d < width ? lane + d : lane; }

template <class T>
T shuffle(const char* where, unsigned mask, T value, int source) {
  static_assert(sizeof(T) == 4, "the kernels shuffle single registers");
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  const std::uint64_t got = exchange(where, mask, bits)[source];
  std::memcpy(&value, &got, sizeof value);
  return value;
}

inline unsigned ballot(const char* where, unsigned mask, bool holds) {
  const std::uint64_t* all = exchange(where, mask, holds);
  unsigned bits = 0;
  for (int i = 0; i < 32; ++i) bits |= static_cast<unsigned>(all[i]) << i;
  return bits;
}

}  // namespace host_cuda
