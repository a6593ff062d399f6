// Cases of the driver, random inputs and comparisons.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace sanitize {

// The same numbers on every machine: the distributions of <random> are not.
class Random {
 public:
  explicit Random(std::uint32_t seed) : state_(seed * 2654435761u + 1) {}
  float uniform(float low, float high);
  std::vector<float> uniform(std::int64_t n, float low, float high);

 private:
  std::uint32_t state_;
};

class Check {
 public:
  // Largest difference allowed: rtol * |want| + atol * (largest |want|, at least 1).
  void close(const std::string& name, const std::vector<float>& got, const std::vector<float>& want, double rtol,
             double atol);
  template <class T>
  void equal(const std::string& name, const std::vector<T>& got, const std::vector<T>& want) {
    std::size_t n_wrong = got.size() == want.size() ? 0 : 1;
    for (std::size_t i = 0; n_wrong == 0 && i < got.size(); ++i) n_wrong += got[i] != want[i];
    report(name, n_wrong == 0, n_wrong == 0 ? "equal" : "not equal");
  }
  int n_compared() const { return n_compared_; }
  int n_wrong() const { return n_wrong_; }

 private:
  void report(const std::string& name, bool right, const std::string& how);
  int n_compared_ = 0, n_wrong_ = 0;
};

// Values of few bits, and their bfloat16 form, which holds them exactly.
std::vector<float> coarse(std::int64_t n, Random& random);
std::vector<std::uint16_t> to_bfloat16(const std::vector<float>& values);
std::vector<float> from_bfloat16(const std::vector<std::uint16_t>& bits);

struct Case {
  const char* name;
  void (*run)(Check&);
};

// Filled by static objects, so that what is linked in is what runs: the emulation on the host takes some files only.
std::vector<Case>& cases();

struct Register {
  Register(const char* name, void (*run)(Check&)) { cases().push_back({name, run}); }
};

}  // namespace sanitize
