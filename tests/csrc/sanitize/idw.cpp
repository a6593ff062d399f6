#include "../../../csrc/ops/idw.h"

#include <cmath>

#include "check.h"
#include "memory.h"
#include "trees.h"

namespace sanitize {
namespace {

using uner3d::IdwArgs;
using uner3d::IdwGrads;

struct IdwCase {
  IdwCase(std::int64_t n, std::int64_t m, std::int64_t c_, int k_, bool normals_)
      : cloud(n, m, 3), c(c_), k(k_), with_normals(normals_) {
    values = coarse(n * c, cloud.random);
    weights = cloud.random.uniform(n, 0.5f, 1.5f);
    grad = coarse(m * c, cloud.random);
    for (const float* axis = cloud.points.data(); axis != cloud.points.data() + cloud.points.size(); axis += 3)
      add_unit(axis, normals);
    for (const float* axis = cloud.queries.data(); axis != cloud.queries.data() + cloud.queries.size(); axis += 3)
      add_unit(axis, query_normals);
  }
  static void add_unit(const float* v, std::vector<float>& to) {
    const float length = std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
    for (int d = 0; d < 3; ++d) to.push_back(v[d] / length);
  }
  Cloud cloud;
  std::int64_t c;
  int k;
  bool with_normals;
  std::vector<float> values, weights, normals, query_normals, grad;
};

template <class T>
std::vector<T> stored(const std::vector<float>& values);
template <>
std::vector<float> stored(const std::vector<float>& values) {
  return values;
}
template <>
std::vector<std::uint16_t> stored(const std::vector<float>& values) {
  return to_bfloat16(values);
}
std::vector<float> loaded(const std::vector<float>& values) { return values; }
std::vector<float> loaded(const std::vector<std::uint16_t>& values) { return from_bfloat16(values); }

struct IdwResult {
  explicit IdwResult(const IdwCase& of)
      : out(static_cast<std::size_t>(of.cloud.m * of.c)),
        values(of.values.size()),
        weights(of.weights.size()),
        queries(of.cloud.queries.size()),
        points(of.cloud.points.size()) {}
  std::vector<float> out, values, weights, queries, points;
};

IdwResult idw_here(const IdwCase& of) {
  IdwResult result(of);
  const HostTree tree(of.cloud.points);
  const IdwArgs<float> args{tree.get(),
                            of.values.data(),
                            of.cloud.queries.data(),
                            of.weights.data(),
                            of.with_normals ? of.normals.data() : nullptr,
                            of.with_normals ? of.query_normals.data() : nullptr,
                            of.cloud.m,
                            of.c,
                            of.k,
                            2,
                            -1,
                            kFar};
  uner3d::cpu::idw_forward(args, result.out.data(), 1);
  uner3d::cpu::idw_backward(
      args, of.grad.data(),
      IdwGrads<float>{result.values.data(), result.weights.data(), result.queries.data(), result.points.data()}, 1);
  return result;
}

// T is how values, results and their gradients are held; float or the bits of bfloat16.
template <class T>
void compare_idw(Check& check, const std::string& name, const IdwCase& of, uner3d::cuda::ValueType type,
                 double tolerance) {
  const IdwResult want = idw_here(of);
  const DeviceTree tree(of.cloud.points);
  const std::int64_t m = of.cloud.m;
  const OnDevice<T> values(stored<T>(of.values)), grad(stored<T>(of.grad)), out(m * of.c);
  const OnDevice<float> queries(of.cloud.queries), weights(of.weights), normals(of.normals),
      query_normals(of.query_normals);
  const IdwArgs<float> args{tree.get(),
                            nullptr,
                            queries.get(),
                            weights.get(),
                            of.with_normals ? normals.get() : nullptr,
                            of.with_normals ? query_normals.get() : nullptr,
                            m,
                            of.c,
                            of.k,
                            2,
                            -1,
                            kFar};
  const Scratch scratch(uner3d::cuda::idw_forward_scratch(m, kDevice));
  uner3d::cuda::idw_forward(args, {values.get(), type}, {out.get(), type}, scratch.get(), kDevice, stream());
  check.close(name + " out", loaded(out.read()), want.out, tolerance, tolerance);
  for (bool fixed_order : {false, true}) {
    OnDevice<float> to_values(tree.n * of.c), to_weights(tree.n), to_queries(3 * m), to_points(3 * tree.n);
    const IdwGrads<float> grads{to_values.zero().get(), to_weights.zero().get(), to_queries.zero().get(),
                                to_points.zero().get()};
    const Scratch room(uner3d::cuda::idw_backward_scratch(m, of.k, fixed_order, kDevice));
    uner3d::cuda::idw_backward(args, {values.get(), type}, grad.get(), grads, fixed_order, room.get(), kDevice,
                               stream());
    const std::string label = name + (fixed_order ? " in order, grad_" : " by atomics, grad_");
    check.close(label + "values", to_values.read(), want.values, 2e-4, 2e-4);
    check.close(label + "weights", to_weights.read(), want.weights, 2e-4, 2e-4);
    check.close(label + "queries", to_queries.read(), want.queries, 2e-4, 2e-4);
    check.close(label + "points", to_points.read(), want.points, 2e-4, 2e-4);
  }
}

const Register idw_registered("idw", [](Check& check) {
  using uner3d::cuda::ValueType;
  compare_idw<float>(check, "idw", IdwCase(900, 500, 3, 8, false), ValueType::kFloat32, 1e-5);
  compare_idw<float>(check, "idw with normals", IdwCase(300, 200, 21, 12, true), ValueType::kFloat32, 1e-5);
  compare_idw<std::uint16_t>(check, "idw of bfloat16", IdwCase(300, 200, 4, 5, false), ValueType::kBFloat16, 8e-3);
});

}  // namespace
}  // namespace sanitize
