// Runs CUDA kernels on the CPU, block after block, so that tests can check them where there is no GPU. Every thread of
// a block is a fiber that runs until it waits for others; which one runs next is drawn from a seed, so that a missing
// barrier shows. Covers what the kernels of this package use, no more.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __grid_constant__
#define __launch_bounds__(...)

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace cuda_on_cpu {

enum class State { kReady, kAtWarp, kAtBlock, kDone };

struct Fiber {
  ucontext_t context;  // where it starts
  jmp_buf place;       // where it goes on: jumps cost no system call
  bool started = false;
  std::vector<char> stack;
  State state = State::kReady;
  std::uint64_t given = 0;  // to a collective of the warp
};

inline constexpr unsigned kLanes = 32;
inline std::vector<Fiber> fibers;
inline jmp_buf scheduler;
inline unsigned running = 0;
inline bool whole_grids = true;  // else few blocks, so that loops over what does not fit into a grid run
inline std::function<void()> body;
inline std::mt19937 random_order(1);

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "cuda_on_cpu: %s (block %u, thread %u)\n", what, blockIdx.x, running);
  std::abort();
}

inline void wait(State state) {
  Fiber& self = fibers[running];
  const unsigned me = running;
  self.state = state;
  if (_setjmp(self.place) == 0) _longjmp(scheduler, 1);
  threadIdx.x = running = me;
}

inline void enter() {
  body();
  fibers[running].state = State::kDone;
  _longjmp(scheduler, 1);
}

inline void resume(unsigned thread) {
  threadIdx.x = running = thread;
  if (_setjmp(scheduler) != 0) return;
  if (fibers[thread].started) _longjmp(fibers[thread].place, 1);
  fibers[thread].started = true;
  setcontext(&fibers[thread].context);
}

// Lets threads go that all wait at the same barrier; false where nobody could.
inline bool release(unsigned n_threads) {
  bool any = false, all_at_block = true;
  for (unsigned first = 0; first < n_threads; first += kLanes) {
    bool all = true, some = false;
    for (unsigned t = first; t < std::min(first + kLanes, n_threads); ++t) {
      some |= fibers[t].state == State::kAtWarp;
      all &= fibers[t].state == State::kAtWarp || fibers[t].state == State::kDone;
      all_at_block &= fibers[t].state == State::kAtBlock || fibers[t].state == State::kDone;
    }
    if (!some || !all) continue;
    for (unsigned t = first; t < std::min(first + kLanes, n_threads); ++t)
      if (fibers[t].state == State::kAtWarp) fibers[t].state = State::kReady;
    any = true;
  }
  if (any || !all_at_block) return any;
  for (unsigned t = 0; t < n_threads; ++t)
    if (fibers[t].state == State::kAtBlock) fibers[t].state = State::kReady, any = true;
  return any;
}

inline void run_block(unsigned n_threads) {
  std::vector<unsigned> order(n_threads);
  std::iota(order.begin(), order.end(), 0u);
  for (unsigned t = 0; t < n_threads; ++t) {
    Fiber& fiber = fibers[t];
    fiber.stack.resize(1 << 16);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
    fiber.state = State::kReady;
    fiber.started = false;
  }
  for (bool ran = true, left = true; ran || left;) {
    std::shuffle(order.begin(), order.end(), random_order);
    const auto warps = random_order();  // those that get on now; the others fall behind
    ran = left = false;
    for (unsigned t : order) {
      if (fibers[t].state != State::kReady) continue;
      if (((warps >> (t / kLanes)) & 1) != 0)
        resume(t), ran = true;
      else
        left = true;
    }
    ran |= release(n_threads);
  }
  for (unsigned t = 0; t < n_threads; ++t)
    if (fibers[t].state != State::kDone) running = t, fail("threads wait at different barriers");
}

template <class Kernel>
void launch(unsigned n_blocks, unsigned n_threads, const Kernel& kernel) {
  if (n_blocks == 0 || n_threads == 0 || n_threads > 1024) fail("wrong launch parameters");
  if (fibers.size() < n_threads) fibers.resize(n_threads);
  body = kernel;
  gridDim.x = whole_grids ? n_blocks : 1 + random_order() % std::min(n_blocks, 3u);
  blockDim.x = n_threads;
  std::vector<unsigned> blocks(gridDim.x);
  std::iota(blocks.begin(), blocks.end(), 0u);
  std::shuffle(blocks.begin(), blocks.end(), random_order);
  for (unsigned b : blocks) {
    blockIdx.x = b;
    run_block(n_threads);
  }
}

// What `pick` chooses from the values that the lanes of the warp gave.
template <class T, class Pick>
T collective(T value, const Pick& pick) {
  static_assert(sizeof(T) <= sizeof(std::uint64_t), "one word");
  fibers[running].given = 0;
  std::memcpy(&fibers[running].given, &value, sizeof value);
  wait(State::kAtWarp);
  T lanes[kLanes] = {};
  bool alive[kLanes] = {};
  const unsigned first = running / kLanes * kLanes;
  for (unsigned l = 0; l < kLanes && first + l < blockDim.x; ++l) {
    std::memcpy(&lanes[l], &fibers[first + l].given, sizeof(T));
    alive[l] = fibers[first + l].state != State::kDone;
  }
  const T picked = pick(lanes, alive);
  wait(State::kAtWarp);
  return picked;
}

}  // namespace cuda_on_cpu

inline void __syncthreads() { cuda_on_cpu::wait(cuda_on_cpu::State::kAtBlock); }
inline void __syncwarp(unsigned = 0xffffffffu) { cuda_on_cpu::wait(cuda_on_cpu::State::kAtWarp); }

template <class T>
T __shfl_sync(unsigned, T value, int from) {
  return cuda_on_cpu::collective(value, [&](const T* lanes, const bool*) { return lanes[from & 31]; });
}

template <class T>
T __shfl_xor_sync(unsigned, T value, int with) {
  const unsigned lane = threadIdx.x % 32;
  return cuda_on_cpu::collective(value, [&](const T* lanes, const bool*) { return lanes[lane ^ with]; });
}

inline unsigned __ballot_sync(unsigned, bool value) {
  return cuda_on_cpu::collective<unsigned>(value, [](const unsigned* lanes, const bool* alive) {
    unsigned mask = 0;
    for (unsigned l = 0; l < 32; ++l) mask |= alive[l] && lanes[l] != 0 ? 1u << l : 0u;
    return mask;
  });
}

template <class T>
T atomicAdd(T* p, T x) {
  const T before = *p;
  *p += x;
  return before;
}

template <class T>
T atomicMax(T* p, T x) {
  const T before = *p;
  *p = std::max(*p, x);
  return before;
}

template <class T>
T min(T a, T b) {
  return b < a ? b : a;
}

template <class T>
T max(T a, T b) {
  return a < b ? b : a;
}

template <class T>
T __ldg(const T* p) {
  return *p;
}

template <class T>
void __stcs(T* p, const T& x) {
  *p = x;
}

struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) longlong2 {
  long long x, y;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline longlong2 make_longlong2(long long x, long long y) { return {x, y}; }

using cudaError_t = int;
using cudaStream_t = void*;
constexpr cudaError_t cudaSuccess = 0;
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount };
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) { return *value = 1, cudaSuccess; }
template <class Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* n_blocks, Kernel*, int, std::size_t) {
  return *n_blocks = 2, cudaSuccess;  // few, so that persistent blocks have several tiles each
}
inline const char* cudaGetErrorString(cudaError_t) { return ""; }
inline const char* cudaGetErrorName(cudaError_t) { return ""; }
inline cudaError_t cudaMemsetAsync(void* p, int value, std::size_t n_bytes, cudaStream_t) {
  std::memset(p, value, n_bytes);
  return cudaSuccess;
}
