#include "../ops/positional_encoding.h"

#include "../core/positional_encoding.h"
#include "parallel.h"

namespace uner3d::cpu {
namespace {
constexpr std::int64_t kGrain = 2048;
constexpr std::int64_t kRow = 128;  // sines of one point computed together

// Angles (in half turns) of outputs j = octave * d + k of one point, for j in [begin, begin + count).
template <class T>
void angles(const T* x, std::int64_t d, std::int64_t begin, std::int64_t count, T* y) {
  std::int64_t octave = begin / d, k = begin % d;
  T scale = static_cast<T>(std::int64_t(1) << octave);
  for (std::int64_t j = 0; j < count; ++j) {
    y[j] = x[k] * scale;
    if (++k == d) k = 0, scale *= T(2);
  }
}
}  // namespace

template <class T>
void positional_encoding_forward(const PositionalEncodingArgs<T>& a, int n_threads) {
  const std::int64_t head = a.include_input ? a.d : 0, width = head + 2 * a.d * a.n_octaves, total = a.d * a.n_octaves;
  parallel_for(a.n, kGrain, n_threads, [&](std::int64_t begin, std::int64_t end) {
    T y[kRow], s[kRow], c[kRow];
    for (std::int64_t i = begin; i < end; ++i) {
      const T* x = a.x + i * a.d;
      T* out = a.out + i * width;
      for (std::int64_t k = 0; k < head; ++k) out[k] = x[k];
      for (std::int64_t j0 = 0; j0 < total; j0 += kRow) {
        const std::int64_t count = std::min(kRow, total - j0);
        angles(x, a.d, j0, count, y);
#pragma omp simd
        for (std::int64_t j = 0; j < count; ++j) core::sincospi(y[j], s[j], c[j]);
        std::int64_t octave = j0 / a.d, k = j0 % a.d;
        for (std::int64_t j = 0; j < count; ++j) {
          T* dst = out + head + 2 * a.d * octave + k;
          dst[0] = a.weights[octave] * s[j];
          dst[a.d] = a.weights[octave] * c[j];
          if (++k == a.d) k = 0, ++octave;
        }
      }
    }
  });
}

template <class T>
void positional_encoding_backward(const PositionalEncodingGradArgs<T>& a, int n_threads) {
  const std::int64_t head = a.include_input ? a.d : 0, width = head + 2 * a.d * a.n_octaves, total = a.d * a.n_octaves;
  parallel_for(a.n, kGrain, n_threads, [&](std::int64_t begin, std::int64_t end) {
    T y[kRow], s[kRow], c[kRow];
    for (std::int64_t i = begin; i < end; ++i) {
      const T* x = a.x + i * a.d;
      const T* g = a.grad_out + i * width;
      T* gx = a.grad_x + i * a.d;
      for (std::int64_t k = 0; k < a.d; ++k) gx[k] = a.include_input ? g[k] : T(0);
      for (std::int64_t j0 = 0; j0 < total; j0 += kRow) {
        const std::int64_t count = std::min(kRow, total - j0);
        angles(x, a.d, j0, count, y);
#pragma omp simd
        for (std::int64_t j = 0; j < count; ++j) core::sincospi(y[j], s[j], c[j]);
        std::int64_t octave = j0 / a.d, k = j0 % a.d;
        for (std::int64_t j = 0; j < count; ++j) {
          const T* src = g + head + 2 * a.d * octave + k;
          const T rate = static_cast<T>(core::kPi) * static_cast<T>(std::int64_t(1) << octave) * a.weights[octave];
          gx[k] += rate * (src[0] * c[j] - src[a.d] * s[j]);
          if (++k == a.d) k = 0, ++octave;
        }
      }
    }
  });
}

template void positional_encoding_forward<float>(const PositionalEncodingArgs<float>&, int);
template void positional_encoding_forward<double>(const PositionalEncodingArgs<double>&, int);
template void positional_encoding_backward<float>(const PositionalEncodingGradArgs<float>&, int);
template void positional_encoding_backward<double>(const PositionalEncodingGradArgs<double>&, int);

}  // namespace uner3d::cpu
