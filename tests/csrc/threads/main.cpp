// Runs every CPU kernel, forward and backward, on one, two and four threads and compares the results bit by bit. Built
// with -fsanitize=thread it reports each pair of accesses that nothing orders (docs/performance.md has the commands).
#include "check.h"

int main() {
  uner3d::threads::check_points();
  uner3d::threads::check_views();
  return 0;
}
