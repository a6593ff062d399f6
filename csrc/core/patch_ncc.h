// Derivatives of a slanted window's correlation with respect to its plane, and of the plane with respect to the depth
// and normal that describe it.
#pragma once

#include "camera.h"
#include "patch_search.h"

namespace uner3d::core {

// How a sample moves in the source, in pixels, as the inverse depth at it grows; not at all along an axis on which it
// lies outside the image, whose border it then takes. Arguments as of source_tap.
template <class T>
struct SourceMotion {
  T du, dv;
};

template <class T>
UNER3D_HD SourceMotion<T> source_motion(const PixelMap<T>& m, SourcePoint<T> p, T dw, T last_x, T last_y) {
  const T inv_z = T(1) / (p.z + m.b[2] * dw);
  const T u = (p.x + m.b[0] * dw) * inv_z, v = (p.y + m.b[1] * dw) * inv_z;
  const bool across = (u > T(0.5)) & (u < last_x + T(0.5)), along = (v > T(0.5)) & (v < last_y + T(0.5));
  return {across ? (m.b[0] - u * m.b[2]) * inv_z : T(0), along ? (m.b[1] - v * m.b[2]) * inv_z : T(0)};
}

// How the grey value of a sample changes as it moves.
template <class T>
UNER3D_HD T source_slope(SourceTap<T> tap, SourceMotion<T> motion, const T* image) {
  const T p00 = image[tap.at], p01 = image[tap.at + tap.right], p10 = image[tap.at + tap.below],
          p11 = image[tap.at + tap.below + tap.right];
  return bilinear_du<T>(p00, p01, p10, p11, tap.ay) * motion.du +
         bilinear_dv<T>(p00, p01, p10, p11, tap.ax) * motion.dv;
}

// Sums over the samples of a window in a source: weights times grey values and their squares, and times the
// reference's centred grey values too.
template <class T>
struct WindowSums {
  T grey, grey2, cross;
};

// The correlation, and what its derivative over each sample's grey value is made of.
template <class T>
struct Correlation {
  T ncc, mean, inv_norm, pull;
};

template <class T>
UNER3D_HD Correlation<T> correlate_sums(const WindowSums<T>& sums, T variance) {
  const T noise2 = static_cast<T>(kGreyNoise2), other = sums.grey2 - sums.grey * sums.grey;
  const T positive = other > T(0) ? other : T(0);
  const T inv_norm = T(1) / std::sqrt((variance + noise2) * (positive + noise2)), ncc = sums.cross * inv_norm;
  return {ncc, sums.grey, inv_norm, other > T(0) ? ncc / (positive + noise2) : T(0)};
}

// d ncc / d grey of a sample of that weight (and weight times the reference's centred grey value).
template <class T>
UNER3D_HD T grey_gradient(const Correlation<T>& c, T weight, T weighted, T grey) {
  return weighted * c.inv_norm - c.pull * weight * (grey - c.mean);
}

// From the gradient in a plane, got by plane_from_normal, to that in the depth z and the normal (in the camera).
template <class T>
UNER3D_HD void plane_backward(T z, const T* normal, T u, T v, const T* K, const Plane<T>& plane, const Plane<T>& grad,
                              T& grad_z, T* grad_normal) {
  const T y = (v - K[4]) / K[3], x = (u - K[2] - K[1] * y) / K[0];
  const T facing = normal[0] * x + normal[1] * y + normal[2];
  grad_z = -(plane.w * grad.w + grad.wx * plane.wx + grad.wy * plane.wy) / z;  // slopes go with w = 1 / z
  if (!(facing < T(0))) {  // taken to face the camera squarely, whatever the normal
    grad_normal[0] = grad_normal[1] = grad_normal[2] = T(0);
    return;
  }
  const T scale = plane.w / facing;
  const T over_y = grad.wy / K[3], over_x = (grad.wx - over_y * K[1]) / K[0];
  const T common = -scale / facing * (over_x * normal[0] + over_y * normal[1]);
  grad_normal[0] = scale * over_x + common * x;
  grad_normal[1] = scale * over_y + common * y;
  grad_normal[2] = common;
}

}  // namespace uner3d::core
