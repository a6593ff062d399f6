// Cuts scratch memory, which torch allocates, into arrays. The same lines that cut it say how much is needed.
#pragma once

#include <cstdint>

namespace uner3d::cuda {

class Scratch {
 public:
  // Null where only used() is asked for.
  explicit Scratch(void* base) : base_(static_cast<char*>(base)) {}

  template <class T>
  T* take(std::int64_t count) {
    constexpr std::int64_t kAlignment = 256;  // torch's allocator gives no less
    T* array = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + used_);
    used_ += (count * static_cast<std::int64_t>(sizeof(T)) + kAlignment - 1) / kAlignment * kAlignment;
    return array;
  }

  std::int64_t used() const { return used_; }

 private:
  char* base_;
  std::int64_t used_ = 0;
};

}  // namespace uner3d::cuda
