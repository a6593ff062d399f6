// Eight channels a lane of a group that reads a row in two runs.
#pragma once

#include "channels.cuh"

namespace uner3d::cuda {

// As a Layout, of rows of floats aligned to 16 bytes with a multiple of 8 channels: a lane holds four channels of
// either half of a round, so that each of its two loads is one contiguous run over the group. What a view costs a lane
// whatever its channels is paid half as often as with four. Every other group takes the halves in the other order, so
// that a load does not want the first halves of all short rows, which may share banks of the cache.
struct TwoRuns {
  static constexpr int kWidth = 8;
  static constexpr bool kVector = true;
  using Values = Channels<kWidth>;
  int first;            // channel of this lane's first run
  std::int64_t second;  // bytes from there to the second
  bool has_any;

  __device__ __forceinline__ TwoRuns(const Group& group, int round, int n) {
    const int half = min(n - round, span(group)) / 2, place = 4 * group.lane;
    const bool swaps = (group.start >> group.log_width) & 1;
    first = round + place + (swaps ? half : 0);
    second = static_cast<std::int64_t>(sizeof(float)) * (swaps ? -half : half);
    keep(second);
    has_any = place < half;
  }

  __device__ __forceinline__ static int span(const Group& group) { return kWidth * group.width; }
  __device__ __forceinline__ bool holds_any() const { return has_any; }

  // The same row from its `first` channel on; to be called where holds_any().
  __device__ __forceinline__ Values load_from(const float* at) const {
    Values out;
    const float4 a = __ldg(reinterpret_cast<const float4*>(at));
    const float4 b = __ldg(reinterpret_cast<const float4*>(reinterpret_cast<const char*>(at) + second));
    out.at[0] = a.x, out.at[1] = a.y, out.at[2] = a.z, out.at[3] = a.w;
    out.at[4] = b.x, out.at[5] = b.y, out.at[6] = b.z, out.at[7] = b.w;
    return out;
  }

  template <bool kPassing>
  __device__ __forceinline__ void store(float* row, const Values& values) const {
    if (!has_any) return;
    const auto& v = values.at;
    write4<kPassing>(row + first, v[0], v[1], v[2], v[3]);
    write4<kPassing>(row + first + second / static_cast<std::int64_t>(sizeof(float)), v[4], v[5], v[6], v[7]);
  }
};

}  // namespace uner3d::cuda
