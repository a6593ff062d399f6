#include "bind.h"

namespace uner3d::bind {
void bind_thin(py::module_&) {}
}  // namespace uner3d::bind
