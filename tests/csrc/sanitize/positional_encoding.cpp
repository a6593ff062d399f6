#include "../../../csrc/ops/positional_encoding.h"

#include "check.h"
#include "memory.h"

namespace sanitize {
namespace {

using uner3d::PositionalEncodingArgs;
using uner3d::PositionalEncodingGradArgs;

void run(Check& check, const std::string& name, std::int64_t n, std::int64_t d, int n_octaves, bool include_input) {
  Random random(1);
  const std::int64_t width = d * (include_input + 2 * n_octaves);
  const auto x = random.uniform(n * d, -1, 1), grad = random.uniform(n * width, -1, 1);
  const OnDevice<float> x_there(x), grad_there(grad), out_there(n * width), grad_x_there(n * d);
  std::vector<float> out(static_cast<std::size_t>(n * width)), grad_x(x.size());
  PositionalEncodingArgs<float> args{x.data(), out.data(), n, d, n_octaves, include_input, {}};
  PositionalEncodingGradArgs<float> grads{x.data(), grad.data(), grad_x.data(), n, d, n_octaves, include_input, {}};
  for (int i = 0; i < n_octaves; ++i) args.weights[i] = grads.weights[i] = 1 - 0.05f * static_cast<float>(i);
  uner3d::cpu::positional_encoding_forward(args, 1);
  uner3d::cpu::positional_encoding_backward(grads, 1);
  args.x = grads.x = x_there.get(), args.out = out_there.get();
  grads.grad_out = grad_there.get(), grads.grad_x = grad_x_there.get();
  uner3d::cuda::positional_encoding_forward(args, kDevice, stream());
  uner3d::cuda::positional_encoding_backward(grads, kDevice, stream());
  check.close(name + " out", out_there.read(), out, 0, 1e-6);
  check.close(name + " grad_x", grad_x_there.read(), grad_x, 1e-5, 1e-5);
}

const Register registered("positional_encoding", [](Check& check) {
  run(check, "positional_encoding", 1001, 3, 10, true);
  run(check, "positional_encoding without input", 77, 5, 4, false);
  run(check, "positional_encoding of many tiles", 6001, 32, 10, true);  // several for each block of a large GPU
  run(check, "positional_encoding of odd rows", 1501, 31, 21, true);    // whose tiles start at any address
  run(check, "positional_encoding of nothing", 0, 3, 10, true);
});

}  // namespace
}  // namespace sanitize
