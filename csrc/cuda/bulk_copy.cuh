// Bulk asynchronous copies from global to shared memory: one thread asks for thousands of bytes, which arrive without
// passing through registers, and an mbarrier says when. PTX ISA 8.0 (CUDA 12), "cp.async.bulk" and "mbarrier"; sm_90
// and newer. UNER3D_BULK_COPY says whether the code being compiled has them: what a kernel does follows from what it
// was compiled for, whichever device runs it.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#if defined(__CUDACC__) && __CUDACC_VER_MAJOR__ >= 12 && __CUDA_ARCH__ >= 900
#define UNER3D_BULK_COPY 1

namespace uner3d::cuda {

// Lies in shared memory. A phase ends once the one arrival of start_copy() and all bytes that it announced have come.
using CopyBarrier = std::uint64_t;

__device__ __forceinline__ unsigned shared_address(const void* p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

// By one thread; publish_barriers() and __syncthreads() must follow before anybody uses it.
__device__ __forceinline__ void init_barrier(CopyBarrier* barrier) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_address(barrier)) : "memory");
}

// Copies see shared memory through a proxy of their own: without this they might find barriers not yet initialised.
__device__ __forceinline__ void publish_barriers() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// By one thread, with nothing else under way on this barrier. Both addresses and n_bytes > 0 are multiples of 16. Reads
// of what is overwritten must be over (__syncthreads). `to` is written as of the cluster, here the block alone, because
// the form for a block came only with PTX ISA 8.6.
__device__ __forceinline__ void start_copy(float* to, const float* from, unsigned n_bytes, CopyBarrier* barrier) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(n_bytes)
               : "memory");
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(to)),
               "l"(__cvta_generic_to_global(from)), "r"(n_bytes), "r"(shared_address(barrier))
               : "memory");
}

// Waits for the end of a phase, even ones with parity 0 and odd ones with 1; what was copied is then visible to the
// calling thread. The instruction itself gives up after a while, hence the loop.
__device__ __forceinline__ void wait_for_copy(CopyBarrier* barrier, unsigned parity) {
  unsigned done = 0;
  while (done == 0)
    asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                 : "=r"(done)
                 : "r"(shared_address(barrier)), "r"(parity)
                 : "memory");
}

}  // namespace uner3d::cuda

#endif
