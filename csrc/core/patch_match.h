// Slanted-window stereo matching (Bleyer et al. 2011): a tangent plane at a pixel, the homography that it induces into
// another view, normalised cross-correlation from its sums, and random numbers that depend on what is asked alone.
#pragma once

#include <cmath>
#include <cstdint>

#include "hd.h"

namespace uner3d::core {

// K [R | t] of a source times the inverse of the reference's: pixel q of the reference at inverse depth w lies at
// a (q, 1) + b w in the source (homogeneous).
template <class T>
struct PixelMap {
  T a[3][3], b[3];
};

// (K, cam_from_world) of the reference and of the source, row-major. In double, rounded once.
template <class T>
UNER3D_HD PixelMap<T> make_pixel_map(const T* K_ref, const T* ref_from_world, const T* K, const T* cam_from_world) {
  double relative[3][4];  // source from reference
  for (int i = 0; i < 3; ++i) {
    const T* row = cam_from_world + 4 * i;
    for (int j = 0; j < 3; ++j) {
      const T* other = ref_from_world + 4 * j;
      relative[i][j] = double(row[0]) * other[0] + double(row[1]) * other[1] + double(row[2]) * other[2];
    }
    relative[i][3] = row[3];
    for (int j = 0; j < 3; ++j) relative[i][3] -= relative[i][j] * ref_from_world[4 * j + 3];
  }
  const double fx = K_ref[0], skew = K_ref[1], cx = K_ref[2], fy = K_ref[4], cy = K_ref[5];
  PixelMap<T> out;
  for (int i = 0; i < 3; ++i) {
    const double k[3] = {K[3 * i], K[3 * i + 1], K[3 * i + 2]};
    double m[4];
    for (int j = 0; j < 4; ++j) m[j] = k[0] * relative[0][j] + k[1] * relative[1][j] + k[2] * relative[2][j];
    const double a0 = m[0] / fx, a1 = (m[1] - skew * a0) / fy;
    out.a[i][0] = static_cast<T>(a0), out.a[i][1] = static_cast<T>(a1);
    out.a[i][2] = static_cast<T>(m[2] - a0 * cx - a1 * cy);
    out.b[i] = static_cast<T>(m[3]);
  }
  return out;
}

// A plane seen from a pixel: its inverse z-depth is w + wx dx + wy dy at (dx, dy) pixels from there, since inverse
// depth is linear over the image of a plane.
template <class T>
struct Plane {
  T w, wx, wy;
};

// (fx, s, cx, fy, cy) of a camera matrix (3, 3).
template <class T>
UNER3D_HD void load_pinhole(const T* matrix, T* K) {
  K[0] = matrix[0], K[1] = matrix[1], K[2] = matrix[2], K[3] = matrix[4], K[4] = matrix[5];
}

// The plane of depth z and normal (nx, ny, nz), in the camera's frame, at pixel (u, v); K = (fx, s, cx, fy, cy). Facing
// the camera squarely where the normal does not face it.
template <class T>
UNER3D_HD Plane<T> plane_from_normal(T z, T nx, T ny, T nz, T u, T v, const T* K) {
  const T y = (v - K[4]) / K[3], x = (u - K[2] - K[1] * y) / K[0];
  const T facing = nx * x + ny * y + nz;
  const T w = T(1) / z, scale = facing < T(0) ? w / facing : T(0);
  const T wx = scale * nx / K[0];
  return {w, wx, facing < T(0) ? (scale * ny - K[1] * wx) / K[3] : T(0)};
}

// Its unit normal in the camera's frame, towards the camera.
template <class T>
UNER3D_HD void normal_from_plane(const Plane<T>& plane, T u, T v, const T* K, T* normal) {
  // n is proportional to K^T (wx, wy, w - wx u - wy v), whose product with the pixel's ray is w.
  const T rest = plane.w - plane.wx * u - plane.wy * v;
  const T x = K[0] * plane.wx, y = K[1] * plane.wx + K[3] * plane.wy, z = K[2] * plane.wx + K[4] * plane.wy + rest;
  const T inv = T(-1) / std::sqrt(x * x + y * y + z * z);
  normal[0] = x * inv, normal[1] = y * inv, normal[2] = z * inv;
}

// Weight of a window's sample: falls with its difference in grey, so that a window at an edge keeps to its side, and
// with its squared distance (in window radii).
template <class T>
UNER3D_HD T support_weight(T difference, T distance2) {
  const T grey = difference * T(1.0 / 0.1);
  return T(1) / ((T(1) + grey * grey) * (T(1) + distance2));
}

// Correlation from weighted central moments; `noise2` keeps flat patches from correlating by chance.
template <class T>
UNER3D_HD T correlation(T covariance, T variance_a, T variance_b, T noise2) {
  const T b = variance_b > T(0) ? variance_b : T(0);
  return covariance / std::sqrt((variance_a + noise2) * (b + noise2));
}

// A uniform number in [-1, 1) of four counters (finalizer of MurmurHash3 over their mix).
UNER3D_HD float signed_uniform(std::uint32_t seed, std::uint32_t pixel, std::uint32_t iteration, std::uint32_t draw) {
  std::uint32_t h = seed * 0x9E3779B1u + pixel * 0x85EBCA77u + iteration * 0xC2B2AE3Du + draw * 0x27D4EB2Fu;
  h ^= h >> 16;
  h *= 0x85EBCA6Bu;
  h ^= h >> 13;
  h *= 0xC2B2AE35u;
  h ^= h >> 16;
  return static_cast<float>(static_cast<std::int32_t>(h)) * (1.0f / 2147483648.0f);
}

}  // namespace uner3d::core
