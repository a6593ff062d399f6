#include "check.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>

namespace sanitize {

float Random::uniform(float low, float high) {
  state_ = state_ * 1664525u + 1013904223u;  // Knuth's constants; the upper bits are the good ones
  return low + (high - low) * static_cast<float>(state_ >> 8) / 16777216.0f;
}

std::vector<float> Random::uniform(std::int64_t n, float low, float high) {
  std::vector<float> values(static_cast<std::size_t>(n));
  for (float& value : values) value = uniform(low, high);
  return values;
}

void Check::close(const std::string& name, const std::vector<float>& got, const std::vector<float>& want, double rtol,
                  double atol) {
  double largest = 1, worst = 0;
  for (float w : want) largest = std::max<double>(largest, std::isfinite(w) ? std::fabs(w) : 0);
  bool right = got.size() == want.size();
  for (std::size_t i = 0; right && i < got.size(); ++i) {
    if (got[i] == want[i] || (std::isnan(got[i]) && std::isnan(want[i]))) continue;
    const double difference = std::fabs(static_cast<double>(got[i]) - want[i]);
    right = difference <= rtol * std::fabs(want[i]) + atol * largest;  // false for NaN
    worst = std::max(worst, difference);
    if (!right) std::printf("  %s[%zu]: %g, the CPU has %g\n", name.c_str(), i, got[i], want[i]);
  }
  char how[64];
  std::snprintf(how, sizeof how, "differs by %.2g at most, of %.2g", worst, largest);
  report(name, right, right ? how : "wrong");
}

void Check::report(const std::string& name, bool right, const std::string& how) {
  ++n_compared_;
  n_wrong_ += !right;
  std::printf("%s %s: %s\n", right ? "ok      " : "MISMATCH", name.c_str(), how.c_str());
  std::fflush(stdout);
}

std::vector<float> coarse(std::int64_t n, Random& random) {
  std::vector<float> values = random.uniform(n, 0, 128);
  for (float& value : values) value = std::floor(value) / 128;
  return values;
}

std::vector<std::uint16_t> to_bfloat16(const std::vector<float>& values) {
  std::vector<std::uint16_t> bits(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint32_t word;
    std::memcpy(&word, &values[i], sizeof word);
    bits[i] = static_cast<std::uint16_t>(word >> 16);
  }
  return bits;
}

std::vector<float> from_bfloat16(const std::vector<std::uint16_t>& bits) {
  std::vector<float> values(bits.size());
  for (std::size_t i = 0; i < bits.size(); ++i) {
    const std::uint32_t word = static_cast<std::uint32_t>(bits[i]) << 16;
    std::memcpy(&values[i], &word, sizeof word);
  }
  return values;
}

std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

}  // namespace sanitize
