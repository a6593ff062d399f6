// cudaKDTree behind a C interface for cuda_kdtree.py: float32, three dimensions, pointers to device memory.
//
// Two trees of it, two ways to search each: balanced (points reordered, so that each carries its index) and spatial
// (leaves of its default size, over the caller's points); stack based, and tracking the closest corner of a subtree.

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>

#include "cukd/builder.h"
#include "cukd/knn.h"
#include "cukd/spatial-kdtree.h"

#ifndef PEER_VERSION
#define PEER_VERSION "unknown"
#endif

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace peer {

struct __align__(16) Node {
  float3 position;
  std::uint32_t payload;  // index into the caller's points below, axis of the split above
};
constexpr int kAxis = 30;  // first bit of the axis
constexpr std::uint32_t kIndex = (1u << kAxis) - 1;

struct Cyclic : public cukd::default_data_traits<float3> {  // axes in turn, the library's default
  using data_t = Node;
  using point_t = float3;
  enum { has_explicit_dim = false };
  static inline __host__ __device__ float3 get_point(const Node& node) { return node.position; }
  static inline __host__ __device__ float get_coord(const Node& node, int axis) {
    return axis == 0 ? node.position.x : axis == 1 ? node.position.y : node.position.z;
  }
  static inline __host__ __device__ int get_dim(const Node&) { return -1; }
  static inline __host__ __device__ void set_dim(Node&, int) {}
};

struct Widest : public Cyclic {  // each box is split where it is widest
  enum { has_explicit_dim = true };
  static inline __host__ __device__ int get_dim(const Node& node) { return int(node.payload >> kAxis); }
  static inline __host__ __device__ void set_dim(Node& node, int axis) {
    node.payload = (node.payload & kIndex) | (std::uint32_t(axis) << kAxis);
  }
};

using Box = cukd::box_t<float3>;
using Plain = cukd::default_data_traits<float3>;
using Spatial = cukd::SpatialKDTree<float3, Plain>;
constexpr int kBlock = 128;

inline int blocks(std::int64_t n) { return int((n + kBlock - 1) / kBlock); }

__global__ void pack(const float3* points, Node* nodes, int n) {
  const int i = blockIdx.x * kBlock + threadIdx.x;
  if (i < n) nodes[i] = Node{points[i], std::uint32_t(i)};
}

template <int K, class Traits, bool kCorners>
__global__ void search_balanced(const Node* nodes, int n, const Box* bounds, const float3* queries, int m, float* dist2,
                                int* index) {
  const int i = blockIdx.x * kBlock + threadIdx.x;
  if (i >= m) return;
  using List = cukd::FixedCandidateList<K>;
  List found(INFINITY);
  if constexpr (kCorners)
    cukd::cct::knn<List, Node, Traits>(found, queries[i], *bounds, nodes, n);
  else
    cukd::stackBased::knn<List, Node, Traits>(found, queries[i], nodes, n);
#pragma unroll
  for (int j = 0; j < K; ++j) {
    const int node = found.get_pointID(j);
    dist2[std::int64_t(i) * K + j] = found.get_dist2(j);
    index[std::int64_t(i) * K + j] = node < 0 ? -1 : int(nodes[node].payload & kIndex);
  }
}

template <int K, bool kCorners>
__global__ void search_spatial(Spatial tree, const float3* queries, int m, float* dist2, int* index) {
  const int i = blockIdx.x * kBlock + threadIdx.x;
  if (i >= m) return;
  using List = cukd::FixedCandidateList<K>;
  List found(INFINITY);
  if constexpr (kCorners)
    cukd::cct::knn<List, float3, Plain>(found, tree, queries[i]);
  else
    cukd::stackBased::knn<List, float3, Plain>(found, tree, queries[i]);
#pragma unroll
  for (int j = 0; j < K; ++j) {
    dist2[std::int64_t(i) * K + j] = found.get_dist2(j);
    index[std::int64_t(i) * K + j] = found.get_pointID(j);
  }
}

struct Tree {
  bool spatial, corners;
  Node* nodes;  // balanced: the caller's memory, as are the bounds
  Box* bounds;
  int n;
  Spatial leaves;  // spatial: the library's memory
};

template <int K>
void search(const Tree& tree, const float3* q, int m, float* dist2, int* index, cudaStream_t stream) {
  const int grid = blocks(m);
  if (tree.spatial && tree.corners)
    search_spatial<K, true><<<grid, kBlock, 0, stream>>>(tree.leaves, q, m, dist2, index);
  else if (tree.spatial)
    search_spatial<K, false><<<grid, kBlock, 0, stream>>>(tree.leaves, q, m, dist2, index);
  else if (tree.corners)
    search_balanced<K, Widest, true><<<grid, kBlock, 0, stream>>>(tree.nodes, tree.n, tree.bounds, q, m, dist2, index);
  else
    search_balanced<K, Cyclic, false><<<grid, kBlock, 0, stream>>>(tree.nodes, tree.n, tree.bounds, q, m, dist2, index);
}

std::string& problem() {
  static std::string text;
  return text;
}

// What went wrong in `work` as text of problem(); whether nothing did.
template <class Work>
bool done(Work work) {
  problem().clear();
  try {
    work();
    if (const cudaError_t code = cudaGetLastError()) problem() = cudaGetErrorString(code);
  } catch (const std::exception& error) {
    problem() = error.what();
  }
  return problem().empty();
}

}  // namespace peer

EXPORTED const char* kdtree_version() { return PEER_VERSION; }

EXPORTED const char* kdtree_problem() { return peer::problem().c_str(); }

// nodes (16 bytes a point) and bounds (24 bytes) are the balanced tree's; the spatial one needs points to stay.
// Null where it failed.
EXPORTED void* kdtree_make(float* points, std::int64_t n, void* nodes, void* bounds, int spatial, int corners,
                           void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  auto* xyz = reinterpret_cast<float3*>(points);
  auto* tree = new peer::Tree{spatial != 0, corners != 0, static_cast<peer::Node*>(nodes),
                              static_cast<peer::Box*>(bounds), int(n), {}};
  const bool made = peer::done([&] {
    if (spatial) {
      cukd::buildTree<float3, peer::Plain>(tree->leaves, xyz, int(n), cukd::BuildConfig{}, on);
      return;
    }
    peer::pack<<<peer::blocks(n), peer::kBlock, 0, on>>>(xyz, tree->nodes, int(n));
    if (corners)
      cukd::buildTree_thrust<peer::Node, peer::Widest>(tree->nodes, int(n), tree->bounds, on);
    else
      cukd::buildTree_thrust<peer::Node, peer::Cyclic>(tree->nodes, int(n), nullptr, on);
  });
  if (made) return tree;
  delete tree;
  return nullptr;
}

EXPORTED void kdtree_free(void* handle, void* stream) {
  auto* tree = static_cast<peer::Tree*>(handle);
  if (tree->spatial) cukd::free(tree->leaves, static_cast<cudaStream_t>(stream));
  delete tree;
}

// dist2 and index are (m, k), nearest first. 0 where it worked.
EXPORTED int kdtree_search(const void* handle, const float* queries, std::int64_t m, int k, float* dist2, int* index,
                           void* stream) {
  const auto& tree = *static_cast<const peer::Tree*>(handle);
  const auto* q = reinterpret_cast<const float3*>(queries);
  const auto on = static_cast<cudaStream_t>(stream);
  const bool found = peer::done([&] {
    switch (k) {
      case 1: return peer::search<1>(tree, q, int(m), dist2, index, on);
      case 4: return peer::search<4>(tree, q, int(m), dist2, index, on);
      case 8: return peer::search<8>(tree, q, int(m), dist2, index, on);
      case 16: return peer::search<16>(tree, q, int(m), dist2, index, on);
      default: throw std::runtime_error("compiled for k of 1, 4, 8 and 16");
    }
  });
  return found ? 0 : 1;
}
