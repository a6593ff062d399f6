// core::attenuate over the lanes of a vector.
#pragma once

#include "../core/composite.h"
#include "scan.h"

namespace uner3d::cpu {

UNER3D_HD void attenuate(Vec<float> tau, Vec<float>& alpha, Vec<float>& through) {
  core::attenuate_single<Vector<float>::Bits>(tau, alpha, through);
}

UNER3D_HD void attenuate(Vec<double> tau, Vec<double>& alpha, Vec<double>& through) {
  for (int i = 0; i < kLanes<double>; ++i) {
    double a, t;
    core::attenuate(tau[i], a, t);
    alpha[i] = a, through[i] = t;
  }
}

}  // namespace uner3d::cpu
