// The channels of a row that one lane holds: loads in up to 16 bytes, stores, atomic additions.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "groups.cuh"

namespace uner3d::cuda {

struct Half {
  std::uint16_t bits;
};
struct Bfloat16 {
  std::uint16_t bits;
};

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(Half x) { return __half2float(__ushort_as_half(x.bits)); }
__device__ __forceinline__ float to_float(Bfloat16 x) {
  return __uint_as_float(static_cast<std::uint32_t>(x.bits) << 16);
}

// Through the read-only path: maps and rows never change while a kernel runs.
__device__ __forceinline__ float read(const float* p) { return __ldg(p); }
__device__ __forceinline__ Half read(const Half* p) { return {__ldg(reinterpret_cast<const std::uint16_t*>(p))}; }
__device__ __forceinline__ Bfloat16 read(const Bfloat16* p) {
  return {__ldg(reinterpret_cast<const std::uint16_t*>(p))};
}

// Keeps the compiler from taking apart, over and over in a loop, the sum that p is.
template <class T>
__device__ __forceinline__ void keep(T& p) {
  static_assert(sizeof(T) == 8, "an address or a distance");
#if defined(__CUDA_ARCH__)
  asm("" : "+l"(p));
#else
  (void)p;
#endif
}

// kWidth numbers, with the arithmetic that the functions of core/ ask of a vector.
template <int kWidth>
struct Channels {
  float at[kWidth] = {};

  template <class F>
  __device__ __forceinline__ static Channels make(const F& f) {
    Channels out;
#pragma unroll
    for (int k = 0; k < kWidth; ++k) out.at[k] = f(k);
    return out;
  }
  __device__ __forceinline__ float sum() const {
    float total = 0;
#pragma unroll
    for (int k = 0; k < kWidth; ++k) total += at[k];
    return total;
  }
  friend __device__ __forceinline__ Channels operator+(const Channels& a, const Channels& b) {
    return make([&](int k) { return a.at[k] + b.at[k]; });
  }
  friend __device__ __forceinline__ Channels operator-(const Channels& a, const Channels& b) {
    return make([&](int k) { return a.at[k] - b.at[k]; });
  }
  friend __device__ __forceinline__ Channels operator*(const Channels& a, const Channels& b) {
    return make([&](int k) { return a.at[k] * b.at[k]; });
  }
  friend __device__ __forceinline__ Channels operator*(float a, const Channels& b) {
    return make([&](int k) { return a * b.at[k]; });
  }
  __device__ __forceinline__ Channels& operator+=(const Channels& b) { return *this = *this + b; }
};

// Bytes as one access of that size.
template <int kBytes>
struct Word;
template <>
struct Word<4> {
  using Type = unsigned;
};
template <>
struct Word<8> {
  using Type = uint2;
};
template <>
struct Word<16> {
  using Type = uint4;
};

__device__ __forceinline__ void atomic_add4(float* to, float a, float b, float c, float d) {
#if !defined(__CUDACC__)
  atomicAdd(reinterpret_cast<float4*>(to), make_float4(a, b, c, d));  // compiled for the host by a test
#elif __CUDA_ARCH__ >= 900 && (__CUDACC_VER_MAJOR__ > 12 || (__CUDACC_VER_MAJOR__ == 12 && __CUDACC_VER_MINOR__ >= 1))
  asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)), "f"(a), "f"(b),
               "f"(c), "f"(d));
#else
  atomicAdd(to, a);
  atomicAdd(to + 1, b);
  atomicAdd(to + 2, c);
  atomicAdd(to + 3, d);
#endif
}

// Four floats to an address that 16 divides, in one access; kPassing: caches need not keep them.
template <bool kPassing>
__device__ __forceinline__ void write4(float* to, float a, float b, float c, float d) {
#if defined(__CUDACC__)
  if constexpr (kPassing) return __stcs(reinterpret_cast<float4*>(to), make_float4(a, b, c, d));
#endif
  *reinterpret_cast<float4*>(to) = make_float4(a, b, c, d);
}

// Which channels of a row a lane holds in a round: kWidth neighbouring ones, moved together (kVector; rows must be
// aligned to 16 bytes of floats and the number of channels a multiple of kWidth), or kWidth a group's width apart.
template <int kWidth_, bool kVector_>
struct Layout {
  static constexpr int kWidth = kWidth_;
  static constexpr bool kVector = kVector_;
  using Values = Channels<kWidth>;
  int first, stride, n_channels;

  __device__ __forceinline__ Layout(const Group& group, int round, int n)
      : first(round + (kVector ? kWidth * group.lane : group.lane)), stride(kVector ? 1 : group.width), n_channels(n) {}

  // Channels of a round.
  __device__ __forceinline__ static int span(const Group& group) { return kWidth * group.width; }
  __device__ __forceinline__ bool holds(int k) const { return first + (kVector ? 0 : k * stride) < n_channels; }
  __device__ __forceinline__ bool holds_any() const { return holds(0); }

  template <class M>
  __device__ __forceinline__ Values load(const M* row) const {
    if (kVector && !holds(0)) return {};
    return load_from(row + first);
  }

  // The same row from its `first` channel on; to be called where holds_any().
  template <class M>
  __device__ __forceinline__ Values load_from(const M* at) const {
    Values out;
    if constexpr (kVector) {
      using Vector = typename Word<sizeof(M) * kWidth>::Type;
      union {
        Vector whole;
        M parts[kWidth];
      } word;
      word.whole = __ldg(reinterpret_cast<const Vector*>(at));
#pragma unroll
      for (int k = 0; k < kWidth; ++k) out.at[k] = to_float(word.parts[k]);
    } else {
#pragma unroll
      for (int k = 0; k < kWidth; ++k)
        if (holds(k)) out.at[k] = to_float(read(at + k * stride));
    }
    return out;
  }

  // The row, or zeros for null.
  __device__ __forceinline__ Values load_or_zero(const float* row) const { return row ? load(row) : Values{}; }

  template <bool kPassing = false>
  __device__ __forceinline__ void store(float* row, const Values& values) const {
    if constexpr (kVector && kWidth % 4 == 0) {
      if (!holds(0)) return;
#pragma unroll
      for (int k = 0; k < kWidth; k += 4)
        write4<kPassing>(row + first + k, values.at[k], values.at[k + 1], values.at[k + 2], values.at[k + 3]);
    } else {
#pragma unroll
      for (int k = 0; k < kWidth; ++k)
        if (holds(k)) row[first + k * stride] = values.at[k];
    }
  }

  // row += values, atomically.
  __device__ __forceinline__ void add(float* row, const Values& values) const {
    if constexpr (kVector && kWidth % 4 == 0) {
      if (!holds(0)) return;
#pragma unroll
      for (int k = 0; k < kWidth; k += 4)
        atomic_add4(row + first + k, values.at[k], values.at[k + 1], values.at[k + 2], values.at[k + 3]);
    } else {
#pragma unroll
      for (int k = 0; k < kWidth; ++k)
        if (holds(k)) atomicAdd(row + first + k * stride, values.at[k]);
    }
  }

  // row += values by the only lane that ever adds there.
  __device__ __forceinline__ void add_alone(float* row, const Values& values) const {
#pragma unroll
    for (int k = 0; k < kWidth; ++k)
      if (holds(k)) row[first + k * stride] += values.at[k];
  }
};

}  // namespace uner3d::cuda
