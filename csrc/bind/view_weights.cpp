#include "bind.h"

namespace uner3d::bind {
void bind_view_weights(py::module_&) {}
}  // namespace uner3d::bind
