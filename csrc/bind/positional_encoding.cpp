#include "../ops/positional_encoding.h"

#include "../core/positional_encoding.h"
#include "bind.h"

namespace uner3d::bind {
namespace {

template <class Args>
void set_weights(Args& args, double window) {
  for (int octave = 0; octave < args.n_octaves; ++octave)
    args.weights[octave] =
        window < 0 ? 1
                   : static_cast<std::decay_t<decltype(args.weights[0])>>(core::octave_weight<double>(window, octave));
}

template <class T>
PositionalEncodingArgs<T> forward_args(Address x, Address out, std::int64_t n, std::int64_t d, int n_octaves,
                                       bool include_input, double window) {
  PositionalEncodingArgs<T> args{pointer<const T>(x), pointer<T>(out), n, d, n_octaves, include_input, {}};
  set_weights(args, window);
  return args;
}

template <class T>
PositionalEncodingGradArgs<T> backward_args(Address x, Address grad_out, Address grad_x, std::int64_t n, std::int64_t d,
                                            int n_octaves, bool include_input, double window) {
  PositionalEncodingGradArgs<T> args{
      pointer<const T>(x), pointer<const T>(grad_out), pointer<T>(grad_x), n, d, n_octaves, include_input, {}};
  set_weights(args, window);
  return args;
}

template <class T>
void bind_cpu(py::module_& m) {
  m.def(typed<T>("positional_encoding_forward").c_str(),
        [](Address x, Address out, std::int64_t n, std::int64_t d, int n_octaves, bool include_input, double window,
           int n_threads) {
          const auto args = forward_args<T>(x, out, n, d, n_octaves, include_input, window);
          py::gil_scoped_release nogil;
          cpu::positional_encoding_forward(args, n_threads);
        });
  m.def(typed<T>("positional_encoding_backward").c_str(),
        [](Address x, Address grad_out, Address grad_x, std::int64_t n, std::int64_t d, int n_octaves,
           bool include_input, double window, int n_threads) {
          const auto args = backward_args<T>(x, grad_out, grad_x, n, d, n_octaves, include_input, window);
          py::gil_scoped_release nogil;
          cpu::positional_encoding_backward(args, n_threads);
        });
}

}  // namespace

void bind_positional_encoding(py::module_& m) {
  bind_cpu<float>(m);
  bind_cpu<double>(m);
  m.def("positional_encoding_forward_cuda", [](Address x, Address out, std::int64_t n, std::int64_t d, int n_octaves,
                                               bool include_input, double window, int device, Address stream) {
    const auto args = forward_args<float>(x, out, n, d, n_octaves, include_input, window);
    py::gil_scoped_release nogil;
    cuda::positional_encoding_forward(args, device, pointer<void>(stream));
  });
  m.def("positional_encoding_backward_cuda",
        [](Address x, Address grad_out, Address grad_x, std::int64_t n, std::int64_t d, int n_octaves,
           bool include_input, double window, int device, Address stream) {
          const auto args = backward_args<float>(x, grad_out, grad_x, n, d, n_octaves, include_input, window);
          py::gil_scoped_release nogil;
          cuda::positional_encoding_backward(args, device, pointer<void>(stream));
        });
}

}  // namespace uner3d::bind
