// Threads for one parallel loop. PyTorch's own, where they can be had: its OpenMP runtime lies in the process with its
// symbols visible to all, and its threads wait in a spin for a while after each of PyTorch's loops. Threads started
// beside them would share cores with that spin, and each start costs some 30 microseconds.
#pragma once

#include <thread>
#include <vector>

#if defined(__linux__)
#include <dlfcn.h>
#include <pthread.h>
#endif

namespace uner3d::cpu {

using RunTeam = void (*)(void (*work)(void*), void* context, unsigned n_threads, unsigned flags);

#if defined(__linux__) && !defined(__SANITIZE_THREAD__)  // the sanitizer does not see how OpenMP's threads synchronise
inline bool& is_forked() {
  static bool forked = false;
  return forked;
}

// GOMP_parallel of the runtime that is loaded already (GCC's; LLVM's and Intel's have it too), null where there is none
// and in forked children, to which the runtime's threads do not come along.
inline RunTeam openmp_team() {
  static const RunTeam run = [] {
    pthread_atfork(nullptr, nullptr, [] { is_forked() = true; });
    return reinterpret_cast<RunTeam>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  }();
  return is_forked() ? nullptr : run;
}
#else
inline RunTeam openmp_team() { return nullptr; }
#endif

// Calls work() on up to n_threads threads, the caller's included, and returns when all have returned. n_useful of them
// are enough; the runtime gets asked for all even so, as PyTorch does, since it ends those that a smaller team leaves
// out. work() must not throw, and must also do where fewer threads come: within another parallel loop, only the caller.
template <class Work>
void run_team(int n_threads, int n_useful, Work& work) {
  if (const RunTeam run = openmp_team()) {
    run([](void* context) { (*static_cast<Work*>(context))(); }, &work, static_cast<unsigned>(n_threads), 0);
    return;
  }
  std::vector<std::thread> threads;
  threads.reserve(static_cast<std::size_t>(n_useful - 1));
  for (int i = 1; i < n_useful; ++i) threads.emplace_back([&work] { work(); });
  work();
  for (auto& thread : threads) thread.join();
}

}  // namespace uner3d::cpu
