// What a back end of patch matching does with one pixel: where a sample of its window falls in a source, which planes
// it tries, and which of them may stand.
#pragma once

#include <cmath>
#include <cstdint>

#include "camera.h"
#include "patch_match.h"

namespace uner3d::core {

constexpr double kGreyNoise2 = 1.5e-5;  // a grey level of 1/255, squared
constexpr float kChosen = 0.5f;         // correlation from which on a source counts as chosen
constexpr int kPropagations = 8;        // planes of other pixels tried in an iteration
constexpr int kDraws = 3;               // perturbations tried after them: depth, slopes, both
constexpr float kSlopeReach = 0.5f;     // tangent by which the first iteration turns a plane at most
constexpr float kSteepest = 5.0f;       // tangent of the steepest plane, about 79 degrees
constexpr float kLeastGain = 1e-4f;     // of the score, for a plane to be replaced

// Where sample number i of a window lies, in pixels from the centre, and its squared distance in window radii.
template <class T>
struct WindowSample {
  T dx, dy, distance2;
};

template <class T>
UNER3D_HD WindowSample<T> window_sample(int i, int side, int step) {
  const int half = side / 2, column = i % side - half, row = i / side - half;
  const T distance2 = half > 0 ? static_cast<T>(column * column + row * row) / static_cast<T>(half * half) : T(0);
  return {static_cast<T>(column * step), static_cast<T>(row * step), distance2};
}

// A normal of the world in the camera, and back. pose: (3, 4) camera from world.
template <class T>
UNER3D_HD void turn_normal(const T* in_world, const T* pose, T* in_camera) {
  for (int k = 0; k < 3; ++k)
    in_camera[k] = pose[4 * k] * in_world[0] + pose[4 * k + 1] * in_world[1] + pose[4 * k + 2] * in_world[2];
}

template <class T>
UNER3D_HD void turn_back(const T* in_camera, const T* pose, T* in_world) {
  for (int k = 0; k < 3; ++k)
    in_world[k] = pose[k] * in_camera[0] + pose[4 + k] * in_camera[1] + pose[8 + k] * in_camera[2];
}

// The plane that matching starts from at pixel (u, v): depth z, held to [near, far], and a normal (3) in the world.
// pose: (3, 4) camera from world; K as in plane_from_normal.
template <class T>
UNER3D_HD Plane<T> start_plane(T z, T near, T far, const T* normal, const T* pose, T u, T v, const T* K) {
  T turned[3];
  turn_normal(normal, pose, turned);
  z = z < near ? near : z;
  return plane_from_normal(z > far ? far : z, turned[0], turned[1], turned[2], u, v, K);
}

// The unit normal (3) of a plane in the world, towards the camera.
template <class T>
UNER3D_HD void world_normal(const Plane<T>& plane, const T* pose, T u, T v, const T* K, T* normal) {
  T in_camera[3];
  normal_from_plane(plane, u, v, K, in_camera);
  turn_back(in_camera, pose, normal);
}

// A pixel of a source in homogeneous coordinates.
template <class T>
struct SourcePoint {
  T x, y, z;
};

// Where pixel (u, v) at inverse depth w lies in the source.
template <class T>
UNER3D_HD SourcePoint<T> map_pixel(const PixelMap<T>& m, T u, T v, T w) {
  return {m.a[0][0] * u + m.a[0][1] * v + m.a[0][2] + m.b[0] * w,
          m.a[1][0] * u + m.a[1][1] * v + m.a[1][2] + m.b[1] * w,
          m.a[2][0] * u + m.a[2][1] * v + m.a[2][2] + m.b[2] * w};
}

// What (dx, dy) pixels at an equal inverse depth add to that.
template <class T>
UNER3D_HD SourcePoint<T> map_step(const PixelMap<T>& m, T dx, T dy) {
  return {m.a[0][0] * dx + m.a[0][1] * dy, m.a[1][0] * dx + m.a[1][1] * dy, m.a[2][0] * dx + m.a[2][1] * dy};
}

template <class T>
UNER3D_HD SourcePoint<T> moved(SourcePoint<T> p, SourcePoint<T> step) {
  return {p.x + step.x, p.y + step.y, p.z + step.z};
}

template <class T>
UNER3D_HD bool is_in_source(SourcePoint<T> p, T width, T height) {
  return (p.z > T(0)) & (p.x >= T(0)) & (p.x < width * p.z) & (p.y >= T(0)) & (p.y < height * p.z);
}

// The four pixels around a sample: offset of the upper left one, steps to the others (0 at the last column and row),
// and the fractions of the way to them. Outside the image the nearest place of its border.
template <class T>
struct SourceTap {
  std::int32_t at, right, below;
  T ax, ay;
};

// p: where the sample would lie at the centre's inverse depth (map_pixel and map_step); dw: by how much it is larger.
template <class T>
UNER3D_HD SourceTap<T> source_tap(const PixelMap<T>& m, SourcePoint<T> p, T dw, T last_x, T last_y,
                                  std::int32_t width) {
  const T inv_z = T(1) / (p.z + m.b[2] * dw);
  T x = (p.x + m.b[0] * dw) * inv_z - T(0.5), y = (p.y + m.b[1] * dw) * inv_z - T(0.5);
  x = x > T(0) ? x : T(0), y = y > T(0) ? y : T(0);  // 0 for NaN
  x = x < last_x ? x : last_x, y = y < last_y ? y : last_y;
  const std::int32_t column = static_cast<std::int32_t>(x), row = static_cast<std::int32_t>(y);
  return {row * width + column, x < last_x ? 1 : 0, y < last_y ? width : 0, x - static_cast<T>(column),
          y - static_cast<T>(row)};
}

template <class T>
UNER3D_HD T source_grey(SourceTap<T> tap, const T* image) {
  return bilinear(image[tap.at], image[tap.at + tap.right], image[tap.at + tap.below],
                  image[tap.at + tap.below + tap.right], tap.ax, tap.ay);
}

// Keeps the larger of both in `best` and the smaller in `value`.
template <class T>
UNER3D_HD void keep_larger(T& best, T& value) {
  const T high = best > value ? best : value;
  value = best > value ? value : best;
  best = high;
}

// The pixel whose plane is tried as number 0 to 7 of an iteration: four beside, then four farther off at an odd
// distance, so that the other colour of the chessboard is met; another distance each iteration.
struct PixelStep {
  int dx, dy;
};

UNER3D_HD PixelStep propagation_step(int number, int iteration) {
  const int far = iteration % 3 == 0 ? 5 : iteration % 3 == 1 ? 3 : 7;
  const int length = (number < 4 ? 1 : far) * (number % 2 == 0 ? -1 : 1);
  return number % 4 < 2 ? PixelStep{length, 0} : PixelStep{0, length};
}

// A plane as it is seen `step` pixels before where it was described.
template <class T>
UNER3D_HD Plane<T> carried(const Plane<T>& plane, const PixelStep& step) {
  return {plane.w - plane.wx * static_cast<T>(step.dx) - plane.wy * static_cast<T>(step.dy), plane.wx, plane.wy};
}

// Whether a plane may stand: its depth within bounds, not too steep. K as in plane_from_normal.
template <class T>
UNER3D_HD bool is_allowed(const Plane<T>& plane, T near, T far, const T* K) {
  const T steepest = T(kSteepest) * plane.w;
  return (plane.w * near <= T(1)) & (plane.w * far >= T(1)) & (std::abs(plane.wx) * K[0] <= steepest) &
         (std::abs(plane.wy) * K[3] <= steepest);
}

// Pixels by which (u, v) at inverse depth w moves in the source for a unit of inverse depth.
template <class T>
UNER3D_HD T source_speed(const PixelMap<T>& m, T u, T v, T w) {
  const SourcePoint<T> p = map_pixel(m, u, v, w);
  const T inv_z = T(1) / p.z;
  const T du = (m.b[0] - p.x * inv_z * m.b[2]) * inv_z, dv = (m.b[1] - p.y * inv_z * m.b[2]) * inv_z;
  return std::sqrt(du * du + dv * dv);
}

// Inverse depth that moves a pixel by one, given by how much a unit moves it in all the sources together.
template <class T>
UNER3D_HD T inverse_depth_of_pixel(T moved, int n_sources) {
  return static_cast<T>(n_sources) / (moved > T(1e-12) ? moved : T(1e-12));
}

// Random perturbation number `draw` of a plane at `pixel`. unit: inverse depth that moves the pixel by one in the
// sources; reach: pixels by which the first iteration moves it at most. Both reaches are halved each iteration.
template <class T>
UNER3D_HD Plane<T> perturbed(const Plane<T>& plane, T unit, T reach, const T* K, std::uint32_t seed,
                             std::uint32_t pixel, int iteration, int draw) {
  const T shrink = std::ldexp(T(1), -iteration);
  const T depth_reach = draw == 1 ? T(0) : shrink * reach, slope_reach = draw == 0 ? T(0) : shrink * T(kSlopeReach);
  const std::uint32_t round = static_cast<std::uint32_t>(iteration), first = 3u * static_cast<std::uint32_t>(draw);
  const T slope = slope_reach * plane.w;
  return {plane.w + depth_reach * unit * static_cast<T>(signed_uniform(seed, pixel, round, first)),
          plane.wx + slope * static_cast<T>(signed_uniform(seed, pixel, round, first + 1)) / K[0],
          plane.wy + slope * static_cast<T>(signed_uniform(seed, pixel, round, first + 2)) / K[3]};
}

}  // namespace uner3d::core
