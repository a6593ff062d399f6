// Limits of floating-point types as constants: the functions of std::numeric_limits are the host's alone.
#pragma once

#include <limits>

namespace uner3d::core {

template <class T>
constexpr T kInfinity = std::numeric_limits<T>::infinity();
template <class T>
constexpr T kLargest = std::numeric_limits<T>::max();
template <class T>
constexpr T kSmallestNormal = std::numeric_limits<T>::min();

}  // namespace uner3d::core
