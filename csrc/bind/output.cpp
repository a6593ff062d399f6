// Tensors in the memory of PagePool. They reach PyTorch by DLPack, whose structures (version 0.8 of its header, the
// unversioned exchange) are written out here.
#include <pybind11/stl.h>

#include <memory>
#include <vector>

#include "../cpu/page_pool.h"
#include "bind.h"

namespace uner3d::bind {
namespace {

struct DLDevice {
  std::int32_t device_type, device_id;
};
struct DLDataType {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};
struct DLTensor {
  void* data;
  DLDevice device;
  std::int32_t ndim;
  DLDataType dtype;
  std::int64_t *shape, *strides;
  std::uint64_t byte_offset;
};
struct DLManagedTensor {
  DLTensor dl_tensor;
  void* manager_ctx;
  void (*deleter)(DLManagedTensor*);
};

constexpr std::int32_t kCpu = 1;

struct Output {
  DLManagedTensor managed{};
  cpu::PoolBlock block;
  std::vector<std::int64_t> shape, strides;

  ~Output() { cpu::PagePool::instance().give(block); }
};

void release(DLManagedTensor* managed) { delete static_cast<Output*>(managed->manager_ctx); }

// Runs where PyTorch has not taken the tensor over; it renames those that it has.
void release_capsule(PyObject* capsule) {
  if (PyCapsule_IsValid(capsule, "dltensor"))
    release(static_cast<DLManagedTensor*>(PyCapsule_GetPointer(capsule, "dltensor")));
}

// An uninitialised contiguous tensor as a DLPack capsule, of a type with this code (0: signed integers, 2: floats) and
// `itemsize` bytes. None where memory is short, so that PyTorch's own allocator says so, and where nothing is pooled.
py::object output_tensor(std::vector<std::int64_t> shape, std::uint8_t code, std::int64_t itemsize) {
  auto output = std::make_unique<Output>();
  std::int64_t count = 1;
  output->strides.resize(shape.size());
  for (std::size_t i = shape.size(); i-- > 0; count *= shape[i]) output->strides[i] = count;
  output->shape = std::move(shape);
  output->block = cpu::PagePool::instance().take(static_cast<std::size_t>(count * itemsize));
  if (!output->block.data) return py::none();
  Output* const owner = output.release();
  const auto bits = static_cast<std::uint8_t>(8 * itemsize);
  char* const data = owner->block.data + cpu::PagePool::instance().next_start();
  owner->managed = {{data,
                     {kCpu, 0},
                     static_cast<std::int32_t>(owner->shape.size()),
                     {code, bits, 1},
                     owner->shape.data(),
                     owner->strides.data(),
                     0},
                    owner,
                    release};
  PyObject* const capsule = PyCapsule_New(&owner->managed, "dltensor", release_capsule);
  if (!capsule) {
    delete owner;
    throw py::error_already_set();
  }
  return py::reinterpret_steal<py::object>(capsule);
}

}  // namespace

void bind_output(py::module_& m) {
  m.attr("output_pooled") = cpu::PagePool::kPools;
  m.def("output_tensor", output_tensor);
  m.def("output_clear", [] { return cpu::PagePool::instance().clear(); });
  m.def("output_kept", [] { return cpu::PagePool::instance().n_kept(); });
}

}  // namespace uner3d::bind
