// Runs every CUDA launcher of csrc/ops on small inputs, forward and backward, and compares with the CPU functions.
// Without PyTorch, whose allocator hides what compute-sanitizer is to find: see benchmarks/gpu_check.sh.
//
// uner3d_sanitize [CASE ...]; exit code 0: all agree, 1: a mismatch or a CUDA error, 2: nothing can run here.
#include <cstdio>
#include <cstring>
#include <exception>

#include "check.h"
#include "memory.h"

namespace {

bool is_asked_for(const char* name, int argc, char** argv) {
  bool asked = argc == 1;
  for (int i = 1; i < argc; ++i) asked |= std::strcmp(argv[i], name) == 0;
  return asked;
}

}  // namespace

int main(int argc, char** argv) {
  if (sanitize::problem()[0] != '\0') {
    std::printf("uner3d_sanitize: %s\n", sanitize::problem());
    return 2;
  }
  sanitize::Check check;
  int n_run = 0;
  try {
    for (const sanitize::Case& each : sanitize::cases()) {
      if (!is_asked_for(each.name, argc, argv)) continue;
      ++n_run;
      each.run(check);
    }
    sanitize::shut_down();
  } catch (const std::exception& error) {
    std::printf("uner3d_sanitize: %s\n", error.what());
    return 1;
  }
  std::printf("%d cases, %d comparisons, %d wrong\n", n_run, check.n_compared(), check.n_wrong());
  return n_run > 0 && check.n_compared() > 0 && check.n_wrong() == 0 ? 0 : 1;
}
