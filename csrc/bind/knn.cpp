#include "bind.h"

namespace uner3d::bind {
void bind_knn(py::module_&) {}
}  // namespace uner3d::bind
