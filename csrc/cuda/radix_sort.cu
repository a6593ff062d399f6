#include <cub/device/device_radix_sort.cuh>

#include "check.cuh"
#include "radix_sort.cuh"

namespace uner3d::cuda {
namespace {

template <class Key>
std::size_t run(SortBuffers<Key>& b, void* temp, std::size_t temp_bytes, std::int64_t n, int n_bits,
                cudaStream_t stream) {
  cub::DoubleBuffer<Key> keys(b.keys, b.other_keys);
  cub::DoubleBuffer<std::uint32_t> values(b.values, b.other_values);
  UNER3D_CUDA_CHECK(
      cub::DeviceRadixSort::SortPairs(temp, temp_bytes, keys, values, static_cast<int>(n), 0, n_bits, stream));
  b.keys = keys.Current(), b.other_keys = keys.Alternate();
  b.values = values.Current(), b.other_values = values.Alternate();
  return temp_bytes;
}

}  // namespace

template <class Key>
std::int64_t sort_temp_bytes(std::int64_t n) {
  SortBuffers<Key> none{};
  // Fewer bits never need more; at least a byte, because a null pointer would ask for the size again.
  const std::size_t bytes = run(none, nullptr, 0, n, 8 * sizeof(Key), nullptr);
  return static_cast<std::int64_t>(bytes > 0 ? bytes : 1);
}

template <class Key>
void sort_pairs(SortBuffers<Key>& buffers, std::int64_t n, int n_bits, cudaStream_t stream) {
  (void)run(buffers, buffers.temp, static_cast<std::size_t>(buffers.temp_bytes), n, n_bits, stream);
}

template std::int64_t sort_temp_bytes<std::uint32_t>(std::int64_t);
template std::int64_t sort_temp_bytes<std::uint64_t>(std::int64_t);
template void sort_pairs<std::uint32_t>(SortBuffers<std::uint32_t>&, std::int64_t, int, cudaStream_t);
template void sort_pairs<std::uint64_t>(SortBuffers<std::uint64_t>&, std::int64_t, int, cudaStream_t);

}  // namespace uner3d::cuda
