#include "fibers.h"

#include <ucontext.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "cuda_runtime.h"

namespace uner3d::cuda {
float4 staged_cameras[1024], staged_quads[1024];  // the dynamic shared memory, under the names that kernels give it
}

namespace host_cuda {
namespace {

constexpr std::size_t kStackBytes = 64 * 1024;

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  const char* where = nullptr;  // it waits at; null: it can run
  bool for_block = false, done = false;
  std::uint64_t value = 0;
};

struct Block {
  std::vector<Fiber> fibers;
  std::vector<std::uint64_t> brought;  // to the last operation of each warp, by lane
  std::vector<unsigned> masks;
  ucontext_t scheduler;
  unsigned current = 0;
  const std::function<void()>* kernel = nullptr;
};
Block block;
const char* failure = nullptr;

void enter() {
  (*block.kernel)();
  Fiber& self = block.fibers[block.current];
  self.done = true;
  swapcontext(&self.context, &block.scheduler);
}

void give_way() {
  const unsigned me = block.current;
  swapcontext(&block.fibers[me].context, &block.scheduler);
  block.current = me;
  threadIdx = dim3(me);
}

void resume(unsigned i) {
  block.current = i;
  threadIdx = dim3(i);
  swapcontext(&block.scheduler, &block.fibers[i].context);
  if (failure) throw std::runtime_error(std::exchange(failure, nullptr));
}

// Lets the lanes [begin, end) go on if all of them wait at the same place; whether they could.
bool release(unsigned begin, unsigned end, bool for_block) {
  const Fiber& first = block.fibers[begin];
  for (unsigned i = begin; i < end; ++i) {
    const Fiber& fiber = block.fibers[i];
    if (fiber.done && !for_block)
      throw std::runtime_error("a lane has left its warp before " + std::string(first.where ? first.where : "another"));
    if (!fiber.where || fiber.for_block != for_block) return false;
    if (std::strcmp(fiber.where, first.where) != 0)
      throw std::runtime_error(std::string("lanes stand at ") + first.where + " and " + fiber.where);
  }
  for (unsigned i = begin; i < end; ++i) {
    block.brought[i] = block.fibers[i].value;
    block.fibers[i].where = nullptr;
  }
  return true;
}

void run_block(unsigned n_threads) {
  for (unsigned i = 0; i < n_threads; ++i) {
    Fiber& fiber = block.fibers[i];
    fiber.where = nullptr, fiber.done = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    makecontext(&fiber.context, enter, 0);
  }
  for (;;) {
    bool progress = false, all_done = true;
    for (unsigned k = 0; k < n_threads; ++k) {
      const unsigned i = backwards ? n_threads - 1 - k : k;
      if (block.fibers[i].done || block.fibers[i].where) continue;
      resume(i), progress = true;
    }
    for (const Fiber& fiber : block.fibers) all_done = all_done && fiber.done;
    if (all_done) return;
    for (unsigned warp = 0; warp < n_threads; warp += 32) {
      bool waits = false;
      for (unsigned i = warp; i < warp + 32; ++i)
        waits = waits || (block.fibers[i].where && !block.fibers[i].for_block);
      if (waits && release(warp, warp + 32, false)) progress = true;
    }
    if (!progress && !release(0, n_threads, true)) throw std::runtime_error("threads wait for each other for ever");
  }
}

}  // namespace

void fail(const char* what) {
  failure = what;
  give_way();
  __builtin_unreachable();
}

const std::uint64_t* exchange(const char* where, unsigned mask, std::uint64_t value) {
  if (mask != 0xffffffffu) fail("the mask of a warp-wide operation is not that of the whole warp");
  Fiber& self = block.fibers[block.current];
  self.where = where, self.for_block = false, self.value = value;
  give_way();
  return block.brought.data() + (threadIdx.x & ~31u);
}

void sync_block(const char* where) {
  Fiber& self = block.fibers[block.current];
  self.where = where, self.for_block = true;
  give_way();
}

void run_grid(unsigned n_blocks, unsigned n_threads, std::size_t shared_bytes, const std::function<void()>& kernel) {
  if (shared_bytes > sizeof(uner3d::cuda::staged_cameras)) throw std::runtime_error("too much shared memory");
  if (n_threads % 32 != 0) throw std::runtime_error("blocks must be whole warps");
  block.fibers = std::vector<Fiber>(n_threads);
  block.brought.resize(n_threads);
  block.kernel = &kernel;
  gridDim = dim3(n_blocks), blockDim = dim3(n_threads);
  for (unsigned b = 0; b < n_blocks; ++b) {
    blockIdx = dim3(b);
    std::memset(static_cast<void*>(uner3d::cuda::staged_cameras), 0xff, sizeof(uner3d::cuda::staged_cameras));  // NaN
    std::memset(static_cast<void*>(uner3d::cuda::staged_quads), 0xff, sizeof(uner3d::cuda::staged_quads));
    run_block(n_threads);
  }
}

}  // namespace host_cuda
