// Marks arithmetic that the host and the CUDA compiler share.
#pragma once

#if defined(__CUDACC__)
#define UNER3D_HD __host__ __device__ __forceinline__
#define UNER3D_UNROLL _Pragma("unroll")  // what is indexed in such a loop stays in registers
#define UNER3D_ROLL _Pragma("unroll 1")
#else
#define UNER3D_HD inline __attribute__((always_inline))
#define UNER3D_UNROLL
#define UNER3D_ROLL
#endif
