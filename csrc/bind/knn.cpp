#include "../ops/knn.h"

#include "../ops/idw.h"
#include "bind.h"

namespace uner3d::bind {
namespace {

template <class T>
void bind_knn_of(py::module_& m) {
  m.def(typed<T>("knn_build").c_str(), [](Address points, Address leaves, Address order, Address boxes, Address lowest,
                                          std::int64_t n, int n_threads) {
    const KnnBuildArgs<T> args{pointer<const T>(points),      pointer<T>(leaves),
                               pointer<std::int32_t>(order),  pointer<T>(boxes),
                               pointer<std::int32_t>(lowest), n};
    py::gil_scoped_release nogil;
    return cpu::knn_build(args, n_threads);
  });
  m.def(typed<T>("knn_forward").c_str(),
        [](Address points, Address leaves, Address order, Address boxes, Address lowest, std::int64_t n,
           Address queries, Address dist2, Address index, std::int64_t n_queries, int k, double radius, int n_threads) {
          const KnnArgs<T> args{make_tree<T>(points, leaves, order, boxes, lowest, n),
                                pointer<const T>(queries),
                                pointer<T>(dist2),
                                pointer<std::int64_t>(index),
                                n_queries,
                                k,
                                static_cast<T>(radius)};
          py::gil_scoped_release nogil;
          return cpu::knn_forward(args, n_threads);
        });
  m.def(typed<T>("knn_backward").c_str(),
        [](Address points, Address queries, Address index, Address grad_dist2, Address grad_points,
           Address grad_queries, std::int64_t n, std::int64_t n_queries, int k, int n_threads) {
          const KnnGradArgs<T> args{pointer<const T>(points),
                                    pointer<const T>(queries),
                                    pointer<const std::int64_t>(index),
                                    pointer<const T>(grad_dist2),
                                    pointer<T>(grad_points),
                                    pointer<T>(grad_queries),
                                    n,
                                    n_queries,
                                    k};
          py::gil_scoped_release nogil;
          cpu::knn_backward(args, n_threads);
        });
}

template <class T>
void bind_idw_of(py::module_& m) {
  using Args = IdwArgs<T>;
  py::class_<Args>(m, typed<T>("IdwArgs").c_str(), py::module_local())
      .def(py::init([](Address points, Address leaves, Address order, Address boxes, Address lowest, std::int64_t n,
                       Address values, Address queries, Address weights, Address normals, Address query_normals,
                       std::int64_t n_queries, std::int64_t n_channels, int k, double power, double softening2,
                       double radius) {
        return Args{make_tree<T>(points, leaves, order, boxes, lowest, n),
                    pointer<const T>(values),
                    pointer<const T>(queries),
                    pointer<const T>(weights),
                    pointer<const T>(normals),
                    pointer<const T>(query_normals),
                    n_queries,
                    n_channels,
                    k,
                    static_cast<T>(power),
                    static_cast<T>(softening2),
                    static_cast<T>(radius)};
      }));
  m.def(typed<T>("idw_forward").c_str(), [](const Args& args, Address out, int n_threads) {
    py::gil_scoped_release nogil;
    return cpu::idw_forward(args, pointer<T>(out), n_threads);
  });
  m.def(typed<T>("idw_backward").c_str(),
        [](const Args& args, Address grad_out, Address grad_values, Address grad_weights, Address grad_queries,
           Address grad_points, int n_threads) {
          const IdwGrads<T> grads{pointer<T>(grad_values), pointer<T>(grad_weights), pointer<T>(grad_queries),
                                  pointer<T>(grad_points)};
          py::gil_scoped_release nogil;
          cpu::idw_backward(args, pointer<const T>(grad_out), grads, n_threads);
        });
}

}  // namespace

void bind_knn(py::module_& m) {
  bind_knn_of<float>(m);
  bind_knn_of<double>(m);
  bind_idw_of<float>(m);
  bind_idw_of<double>(m);
}

}  // namespace uner3d::bind
