// Points are taken in blocks: their sines and cosines are computed octave by octave in vectors over the coordinates of
// the block, which lie side by side in x, and moved between that order and the rows of the output in pieces of d
// values.
#include "../ops/positional_encoding.h"

#include <cstring>

#include "../core/positional_encoding.h"
#include "memory.h"
#include "parallel.h"

namespace uner3d::cpu {
namespace {

constexpr std::int64_t kBlock = 192;  // coordinates of a block: a multiple of every vector length, and of 3
constexpr std::int64_t kPad = 16;     // pieces of 3 are moved as 4; and rows stay aligned to 64 bytes
constexpr std::int64_t kRow = kBlock + kPad;
static_assert(kMaxOctaves % 2 == 0, "octaves are computed in pairs");
constexpr std::int64_t kGrainBytes = std::int64_t(4) << 20;  // of output per chunk: several large pages

template <class T>
struct alignas(64) Block {
  T turn[kBlock];
  T sine[kMaxOctaves][kRow];
  T cosine[kMaxOctaves][kRow];
};

// Copies one piece. D is its length where known at compile time, else 0. With `may_spill`, what lies one behind the end
// of the piece in dst may be overwritten and in src may be read: three values then move as four.
template <class T, int D, bool may_spill>
inline void copy_piece(T* dst, const T* src, std::int64_t length) {
  if constexpr (D == 0) {
    for (std::int64_t k = 0; k < length; ++k) dst[k] = src[k];
  } else {
    std::memcpy(dst, src, sizeof(T) * (D == 3 && may_spill ? 4 : D));
  }
}

// Writes the sines and cosines of one point at one octave; what lies behind them may be overwritten.
template <class T, int D>
inline void write_octave(T* dst, const T* sine, const T* cosine, std::int64_t d, std::int64_t span) {
  if constexpr (D == 3) {
    typedef T Four __attribute__((vector_size(4 * sizeof(T))));
    Four s, c;
    std::memcpy(&s, sine, sizeof s);
    std::memcpy(&c, cosine, sizeof c);
    const auto both = __builtin_shufflevector(s, c, 0, 1, 2, 4, 5, 6, -1, -1);
    std::memcpy(dst, &both, sizeof both);
  } else {
    copy_piece<T, D, true>(dst, sine, span);
    copy_piece<T, D, true>(dst + d, cosine, span);
  }
}

// The part of a tensor that a block covers: whole points, or a span of the coordinates of one point where d > kBlock.
struct Part {
  std::int64_t first, n_points, k, span;
};

// Calls body(part) over the points [begin, end).
template <class Body>
void for_each_part(std::int64_t begin, std::int64_t end, std::int64_t d, const Body& body) {
  const std::int64_t span = std::min(d, kBlock), n_points = d > 0 ? std::max<std::int64_t>(kBlock / d, 1) : 0;
  if (d == 0) return;
  for (std::int64_t i = begin; i < end; i += n_points)
    for (std::int64_t k = 0; k < d; k += span) body(Part{i, std::min(n_points, end - i), k, std::min(span, d - k)});
}

// Angles of a block at octave 0, zero where the block is not full: every block is computed whole, so that a value does
// not depend on where in a block it lies.
template <class T>
void load_turns(const T* x, std::int64_t d, const Part& part, Block<T>& block) {
  const std::int64_t count = part.n_points * part.span;
  std::memcpy(block.turn, x + part.first * d + part.k, count * sizeof(T));
  std::fill(block.turn + count, block.turn + kBlock, T(0));
#pragma omp simd
  for (std::int64_t j = 0; j < kBlock; ++j) block.turn[j] = core::reduce_turn(block.turn[j]);
}

template <class T>
void encode_block(const T* weights, int n_octaves, Block<T>& block) {
  for (int octave = 0; octave < n_octaves; octave += 2) {
    const int second = octave + 1;  // of an odd number the last is computed in vain
    T *sine = block.sine[octave], *cosine = block.cosine[octave];
    T *sine2 = block.sine[second], *cosine2 = block.cosine[second];
    const T weight = weights[octave], weight2 = weights[second];
#pragma omp simd
    for (std::int64_t j = 0; j < kBlock; ++j) {
      T s, c, s2, c2;
      core::sincospi_turn(block.turn[j], s, c);
      core::double_angle(s, c, s2, c2);
      sine[j] = weight * s;
      cosine[j] = weight * c;
      sine2[j] = weight2 * s2;
      cosine2[j] = weight2 * c2;
      block.turn[j] = core::skip_octave(block.turn[j]);
    }
  }
}

template <class T, int D>
void write_rows(const PositionalEncodingArgs<T>& a, const Part& part, const Block<T>& block) {
  // Copies: what is stored below might else be a.d, for all that the compiler knows.
  const std::int64_t d = D ? D : a.d, span = D ? D : part.span, n_points = part.n_points;
  const std::int64_t head = a.include_input ? d : 0, width = head + 2 * d * a.n_octaves;
  const int last = a.n_octaves - 1;
  const T* x = a.x + part.first * d + part.k;
  T* row = a.out + part.first * width + part.k;
  for (std::int64_t p = 0; p < n_points; ++p, row += width) {
    if (head) copy_piece<T, D, false>(row, x + p * d, span);
    T* dst = row + head;
    const T *sine = block.sine[0] + p * span, *cosine = block.cosine[0] + p * span;
    for (int octave = 0; octave < last; ++octave, dst += 2 * d, sine += kRow, cosine += kRow)
      write_octave<T, D>(dst, sine, cosine, d, span);
    if (last >= 0) {  // another thread may own what lies behind the row
      copy_piece<T, D, true>(dst, sine, span);
      copy_piece<T, D, false>(dst + d, cosine, span);
    }
  }
}

// The gradients of a block's outputs, in the places of the sines and cosines.
template <class T, int D>
void read_rows(const PositionalEncodingGradArgs<T>& a, const Part& part, Block<T>& block) {
  const std::int64_t head = a.include_input ? a.d : 0, width = head + 2 * a.d * a.n_octaves;
  const std::int64_t span = D ? D : part.span;
  for (std::int64_t p = 0; p < part.n_points; ++p) {
    const T* src = a.grad_out + (part.first + p) * width + head + part.k;
    for (int octave = 0; octave < a.n_octaves - 1; ++octave, src += 2 * a.d) {
      copy_piece<T, D, true>(block.sine[octave] + p * span, src, span);
      copy_piece<T, D, true>(block.cosine[octave] + p * span, src + a.d, span);
    }
    if (a.n_octaves > 0) {  // the tensor may end with the row
      copy_piece<T, D, true>(block.sine[a.n_octaves - 1] + p * span, src, span);
      copy_piece<T, D, false>(block.cosine[a.n_octaves - 1] + p * span, src + a.d, span);
    }
  }
}

template <class T>
void differentiate_block(const T* weights, int n_octaves, Block<T>& block, T* grad) {
  for (int octave = 0; octave < n_octaves; octave += 2) {
    const int second = octave + 1;  // of an odd number the last has no gradients and no rate
    const T *grad_sine = block.sine[octave], *grad_cosine = block.cosine[octave];
    const T *grad_sine2 = block.sine[second], *grad_cosine2 = block.cosine[second];
    const T rate = core::octave_rate(weights[octave], octave);
    const T rate2 = second < n_octaves ? core::octave_rate(weights[second], second) : T(0);
#pragma omp simd
    for (std::int64_t j = 0; j < kBlock; ++j) {
      T s, c, s2, c2;
      core::sincospi_turn(block.turn[j], s, c);
      core::double_angle(s, c, s2, c2);
      grad[j] += core::encoding_gradient(rate, s, c, grad_sine[j], grad_cosine[j]) +
                 core::encoding_gradient(rate2, s2, c2, grad_sine2[j], grad_cosine2[j]);
      block.turn[j] = core::skip_octave(block.turn[j]);
    }
  }
}

template <class T, int D>
void forward(const PositionalEncodingArgs<T>& a, std::int64_t begin, std::int64_t end) {
  Block<T> block{};
  for_each_part(begin, end, a.d, [&](const Part& part) {
    load_turns(a.x, a.d, part, block);
    encode_block(a.weights, a.n_octaves, block);
    write_rows<T, D>(a, part, block);
  });
}

template <class T, int D>
void backward(const PositionalEncodingGradArgs<T>& a, std::int64_t begin, std::int64_t end) {
  Block<T> block{};
  T grad[kBlock];
  const std::int64_t width = a.d * ((a.include_input ? 1 : 0) + 2 * a.n_octaves);
  for_each_part(begin, end, a.d, [&](const Part& part) {
    load_turns(a.x, a.d, part, block);
    read_rows<T, D>(a, part, block);
    std::fill(grad, grad + kBlock, T(0));
    for (std::int64_t p = 0; a.include_input && p < part.n_points; ++p)
      copy_piece<T, D, false>(grad + p * part.span, a.grad_out + (part.first + p) * width + part.k, part.span);
    differentiate_block(a.weights, a.n_octaves, block, grad);
    std::memcpy(a.grad_x + part.first * a.d + part.k, grad, part.n_points * part.span * sizeof(T));
  });
}

// Points per chunk, from the bytes of one row.
std::int64_t grain(std::int64_t n, std::int64_t row_bytes, int n_threads) {
  const std::int64_t by_size = kGrainBytes / std::max<std::int64_t>(row_bytes, 1);
  const std::int64_t by_share = n / (2 * std::max(n_threads, 1));
  return std::max<std::int64_t>(std::min(by_size, by_share), 512);
}

}  // namespace

template <class T>
void positional_encoding_forward(const PositionalEncodingArgs<T>& a, int n_threads) {
  const std::int64_t row = a.d * ((a.include_input ? 1 : 0) + 2 * a.n_octaves) * static_cast<std::int64_t>(sizeof(T));
  prefer_huge_pages(a.out, static_cast<std::size_t>(a.n * row));
  parallel_for(a.n, grain(a.n, row, n_threads), n_threads, [&](std::int64_t begin, std::int64_t end) {
    switch (a.d) {
      case 1:
        return forward<T, 1>(a, begin, end);
      case 2:
        return forward<T, 2>(a, begin, end);
      case 3:
        return forward<T, 3>(a, begin, end);
      default:
        return forward<T, 0>(a, begin, end);
    }
  });
}

template <class T>
void positional_encoding_backward(const PositionalEncodingGradArgs<T>& a, int n_threads) {
  const std::int64_t row = a.d * ((a.include_input ? 1 : 0) + 2 * a.n_octaves) * static_cast<std::int64_t>(sizeof(T));
  parallel_for(a.n, grain(a.n, row, n_threads), n_threads, [&](std::int64_t begin, std::int64_t end) {
    switch (a.d) {
      case 1:
        return backward<T, 1>(a, begin, end);
      case 2:
        return backward<T, 2>(a, begin, end);
      case 3:
        return backward<T, 3>(a, begin, end);
      default:
        return backward<T, 0>(a, begin, end);
    }
  });
}

template void positional_encoding_forward<float>(const PositionalEncodingArgs<float>&, int);
template void positional_encoding_forward<double>(const PositionalEncodingArgs<double>&, int);
template void positional_encoding_backward<float>(const PositionalEncodingGradArgs<float>&, int);
template void positional_encoding_backward<double>(const PositionalEncodingGradArgs<double>&, int);

}  // namespace uner3d::cpu
