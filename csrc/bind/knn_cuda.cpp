#include "../ops/idw.h"
#include "../ops/knn.h"
#include "bind.h"

namespace uner3d::bind {
namespace {

void bind_search(py::module_& m) {
  m.def("knn_build_scratch_cuda", &cuda::knn_build_scratch);
  m.def("knn_build_cuda", [](Address points, Address leaves, Address order, Address boxes, Address lowest,
                             std::int64_t n, Address scratch, int device, Address stream) {
    const KnnBuildArgs<float> args{pointer<const float>(points),  pointer<float>(leaves),
                                   pointer<std::int32_t>(order),  pointer<float>(boxes),
                                   pointer<std::int32_t>(lowest), n};
    py::gil_scoped_release nogil;
    cuda::knn_build(args, pointer<void>(scratch), device, pointer<void>(stream));
  });
  m.def("knn_forward_scratch_cuda", &cuda::knn_forward_scratch);
  m.def("knn_forward_cuda", [](Address points, Address leaves, Address order, Address boxes, Address lowest,
                               std::int64_t n, Address queries, Address dist2, Address index, std::int64_t n_queries,
                               int k, double radius, Address scratch, int device, Address stream) {
    const KnnArgs<float> args{make_tree<float>(points, leaves, order, boxes, lowest, n),
                              pointer<const float>(queries),
                              pointer<float>(dist2),
                              pointer<std::int64_t>(index),
                              n_queries,
                              k,
                              static_cast<float>(radius)};
    py::gil_scoped_release nogil;
    cuda::knn_forward(args, pointer<void>(scratch), device, pointer<void>(stream));
  });
  m.def("knn_backward_scratch_cuda", &cuda::knn_backward_scratch);
  m.def("knn_backward_cuda", [](Address points, Address queries, Address index, Address grad_dist2, Address grad_points,
                                Address grad_queries, std::int64_t n, std::int64_t n_queries, int k, Address scratch,
                                int device, Address stream) {
    const KnnGradArgs<float> args{pointer<const float>(points),
                                  pointer<const float>(queries),
                                  pointer<const std::int64_t>(index),
                                  pointer<const float>(grad_dist2),
                                  pointer<float>(grad_points),
                                  pointer<float>(grad_queries),
                                  n,
                                  n_queries,
                                  k};
    py::gil_scoped_release nogil;
    cuda::knn_backward(args, pointer<void>(scratch), device, pointer<void>(stream));
  });
}

cuda::TypedRows typed_rows(Address rows, int type) { return {pointer<void>(rows), static_cast<cuda::ValueType>(type)}; }

void bind_idw(py::module_& m) {
  using Args = IdwArgs<float>;                                               // bound with the CPU kernels
  m.attr("value_types") = py::make_tuple("float32", "float16", "bfloat16");  // positions are cuda::ValueType
  m.def("idw_forward_scratch_cuda", &cuda::idw_forward_scratch);
  m.def("idw_forward_cuda",
        [](const Args& args, Address values, Address out, int type, Address scratch, int device, Address stream) {
          py::gil_scoped_release nogil;
          cuda::idw_forward(args, typed_rows(values, type), typed_rows(out, type), pointer<void>(scratch), device,
                            pointer<void>(stream));
        });
  m.def("idw_backward_scratch_cuda", &cuda::idw_backward_scratch);
  m.def("idw_backward_cuda",
        [](const Args& args, Address values, Address grad_out, int type, Address grad_values, Address grad_weights,
           Address grad_queries, Address grad_points, bool fixed_order, Address scratch, int device, Address stream) {
          const IdwGrads<float> grads{pointer<float>(grad_values), pointer<float>(grad_weights),
                                      pointer<float>(grad_queries), pointer<float>(grad_points)};
          py::gil_scoped_release nogil;
          cuda::idw_backward(args, typed_rows(values, type), pointer<const void>(grad_out), grads, fixed_order,
                             pointer<void>(scratch), device, pointer<void>(stream));
        });
}

}  // namespace

void bind_knn_cuda(py::module_& m) {
  bind_search(m);
  bind_idw(m);
}

}  // namespace uner3d::bind
