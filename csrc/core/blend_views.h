// One view's say in the colour of a point: what enters its score besides the view's features, and the derivative of the
// weighted softmax over the views that follows the scores (after IBRNet, Wang et al. 2021).
#pragma once

#include <cmath>

#include "camera.h"
#include "hd.h"

namespace uner3d::core {

constexpr int kBlendColours = 3;                 // of the view's pixel; they enter its score, and are what is blended
constexpr int kBlendInputs = kBlendColours + 4;  // and where the view looks from: BlendAngle

// The unit vector from a camera's centre to a point less the direction given for the point, and their cosine.
template <class T>
struct BlendAngle {
  T x, y, z, cosine;
};

template <class T>
UNER3D_HD BlendAngle<T> blend_angle(const Camera<T>& camera, T x, T y, T z, T dx, T dy, T dz) {
  const T rx = x - camera.centre[0], ry = y - camera.centre[1], rz = z - camera.centre[2];
  const T length2 = rx * rx + ry * ry + rz * rz;
  const T scale = length2 > T(0) ? T(1) / std::sqrt(length2) : T(0);  // a point at the centre itself has no direction
  const T ux = rx * scale, uy = ry * scale, uz = rz * scale;
  return {ux - dx, uy - dy, uz - dz, ux * dx + uy * dy + uz * dz};
}

// Derivative of the loss to the score of a view with this share of the colour, from the products of the colour's
// gradient with the view's pixel and with the blended colour.
template <class T>
UNER3D_HD T blend_grad_score(T share, T along_pixel, T along_blend) {
  return share * (along_pixel - along_blend);
}

}  // namespace uner3d::core
