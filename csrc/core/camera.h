// Pinhole projection of a point and bilinear sampling of a channels-last map, with their derivatives.
// Shared by fuse_views, sample_views and view_weights. Pixel centres lie at +0.5; beyond the outermost centres the
// edge pixel is repeated.
#pragma once

#include <cmath>
#include <cstdint>

#include "hd.h"

namespace uner3d::core {

template <class T>
struct Camera {
  T p[3][4];    // K [R | t]: (u z, v z, z) = p (x, y, z, 1)
  T centre[3];  // of projection, in the world
};

// K (3, 3) = [fx s cx; 0 fy cy; 0 0 1] in pixels, cam_from_world (3, 4), both row-major. Products in double, rounded once.
template <class T>
UNER3D_HD Camera<T> make_camera(const T* K, const T* cam_from_world) {
  Camera<T> camera;
  const T* m = cam_from_world;
  for (int j = 0; j < 4; ++j) {
    const double x = m[j], y = m[4 + j], z = m[8 + j];
    camera.p[0][j] = static_cast<T>(double(K[0]) * x + double(K[1]) * y + double(K[2]) * z);
    camera.p[1][j] = static_cast<T>(double(K[4]) * y + double(K[5]) * z);
    camera.p[2][j] = m[8 + j];
  }
  for (int k = 0; k < 3; ++k)
    camera.centre[k] =
        static_cast<T>(-(double(m[k]) * m[3] + double(m[4 + k]) * m[7] + double(m[8 + k]) * m[11]));
  return camera;
}

template <class T>
struct Projection {
  T u, v, z, inv_z;
  bool seen;  // in front of the camera and inside [0, width) x [0, height); false for NaN
};

template <class T>
UNER3D_HD Projection<T> project(const Camera<T>& c, T x, T y, T z, T width, T height) {
  Projection<T> out;
  out.z = c.p[2][0] * x + c.p[2][1] * y + c.p[2][2] * z + c.p[2][3];
  out.inv_z = T(1) / out.z;
  out.u = (c.p[0][0] * x + c.p[0][1] * y + c.p[0][2] * z + c.p[0][3]) * out.inv_z;
  out.v = (c.p[1][0] * x + c.p[1][1] * y + c.p[1][2] * z + c.p[1][3]) * out.inv_z;
  out.seen = (out.z > T(0)) & (out.u >= T(0)) & (out.u < width) & (out.v >= T(0)) & (out.v < height);
  return out;
}

// Adds grad_u du/dX + grad_v dv/dX to grad (3).
template <class T>
UNER3D_HD void project_backward(const Camera<T>& c, T u, T v, T inv_z, T grad_u, T grad_v, T* grad) {
  for (int k = 0; k < 3; ++k)
    grad[k] += inv_z * (grad_u * (c.p[0][k] - u * c.p[2][k]) + grad_v * (c.p[1][k] - v * c.p[2][k]));
}

// One axis of a bilinear sample at coordinate u in [0, size).
template <class T>
struct Axis {
  std::int32_t index;  // of the lower tap, clamped to the map
  std::int32_t step;   // 1 where the upper tap is the next pixel, 0 where clamping makes both the same
  T fraction;          // weight of the upper tap; 0 where both are the same
};

template <class T>
UNER3D_HD Axis<T> axis(T u, std::int32_t size) {
  const std::int32_t lower = static_cast<std::int32_t>(u + T(0.5)) - 1;  // floor(u - 0.5) for u >= 0
  Axis<T> a;
  a.index = lower < 0 ? 0 : (lower > size - 1 ? size - 1 : lower);
  a.step = (lower >= 0) & (lower < size - 1) ? 1 : 0;
  a.fraction = a.step ? u - T(0.5) - static_cast<T>(lower) : T(0);
  return a;
}

// Weights of the four taps: (row 0, col 0), (row 0, col 1), (row 1, col 0), (row 1, col 1).
template <class T>
UNER3D_HD void bilinear_weights(T ax, T ay, T* w) {
  w[3] = ax * ay;
  w[2] = ay - w[3];
  w[1] = ax - w[3];
  w[0] = T(1) - ax - w[2];
}

// The sample and its derivative along columns and rows (V is the scalar T or a vector of it). Where both taps of an axis
// are the same pixel the derivative vanishes by itself.
template <class V, class T>
UNER3D_HD V bilinear(V p00, V p01, V p10, V p11, const T* w) {
  return w[0] * p00 + w[1] * p01 + w[2] * p10 + w[3] * p11;
}

template <class V, class T>
UNER3D_HD V bilinear_du(V p00, V p01, V p10, V p11, T ay) {
  return (p01 - p00) + ay * ((p11 - p10) - (p01 - p00));
}

template <class V, class T>
UNER3D_HD V bilinear_dv(V p00, V p01, V p10, V p11, T ax) {
  return (p10 - p00) + ax * ((p11 - p01) - (p10 - p00));
}

}  // namespace uner3d::core
