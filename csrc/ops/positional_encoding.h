// Contract of positional_encoding that the CPU and CUDA back ends keep.
#pragma once

#include <cstdint>

namespace uner3d {

constexpr int kMaxOctaves = 32;

template <class T>
struct PositionalEncodingArgs {
  const T* x;  // (n, d)
  T* out;      // (n, d * (include_input + 2 n_octaves)): [x], then per octave d sines, d cosines
  std::int64_t n, d;
  int n_octaves;  // 0 .. kMaxOctaves
  bool include_input;
  T weights[kMaxOctaves];  // per octave
};

template <class T>
struct PositionalEncodingGradArgs {
  const T* x;         // (n, d)
  const T* grad_out;  // (n, d * (include_input + 2 n_octaves))
  T* grad_x;          // (n, d)
  std::int64_t n, d;
  int n_octaves;
  bool include_input;
  T weights[kMaxOctaves];
};

namespace cpu {
template <class T>
void positional_encoding_forward(const PositionalEncodingArgs<T>& args, int n_threads);
template <class T>
void positional_encoding_backward(const PositionalEncodingGradArgs<T>& args, int n_threads);
}  // namespace cpu

namespace cuda {
// `stream` is a cudaStream_t of the device that holds the tensors; nothing is allocated, nothing waits.
void positional_encoding_forward(const PositionalEncodingArgs<float>& args, int device, void* stream);
void positional_encoding_backward(const PositionalEncodingGradArgs<float>& args, int device, void* stream);
}  // namespace cuda

}  // namespace uner3d
