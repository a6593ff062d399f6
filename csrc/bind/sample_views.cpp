#include "bind.h"

namespace uner3d::bind {
void bind_sample_views(py::module_&) {}
}  // namespace uner3d::bind
