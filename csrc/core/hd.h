// Marks arithmetic that the host and the CUDA compiler share.
#pragma once

#if defined(__CUDACC__)
#define UNER3D_HD __host__ __device__ __forceinline__
#else
#define UNER3D_HD inline __attribute__((always_inline))
#endif
