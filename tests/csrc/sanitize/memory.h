// Memory of the device, an allocation of its own for each array and no byte more than asked for, so that memcheck sees
// the first step beyond an array, and unwritten where nothing was put in, so that initcheck sees what is read too
// early.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sanitize {

// Implemented with the CUDA runtime (memory.cu), and without it where kernels are emulated on the host.
void* allocate(std::size_t n_bytes);
void release(void* p);
void upload(void* to, const void* from, std::size_t n_bytes);
void download(void* to, const void* from, std::size_t n_bytes);  // after all work on the stream
void clear(void* p, std::size_t n_bytes);
void* stream();
// What stands in the way of running here, or an empty string.
const char* problem();
void shut_down();

constexpr int kDevice = 0;

template <class T>
class OnDevice {
 public:
  explicit OnDevice(std::int64_t n) : n_(static_cast<std::size_t>(n)), data_(allocate(n_ * sizeof(T))) {}
  explicit OnDevice(const std::vector<T>& values) : OnDevice(static_cast<std::int64_t>(values.size())) {
    upload(data_, values.data(), n_ * sizeof(T));
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  ~OnDevice() { release(data_); }

  T* get() const { return static_cast<T*>(data_); }
  OnDevice& zero() {
    clear(data_, n_ * sizeof(T));
    return *this;
  }
  std::vector<T> read() const {
    std::vector<T> values(n_);
    download(values.data(), data_, n_ * sizeof(T));
    return values;
  }

 private:
  std::size_t n_;
  void* data_;
};

using Scratch = OnDevice<unsigned char>;

}  // namespace sanitize
