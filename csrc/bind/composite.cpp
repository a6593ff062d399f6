#include "bind.h"

namespace uner3d::bind {
void bind_composite(py::module_&) {}
}  // namespace uner3d::bind
