"""One module per file format, in the order of detection.

Each has NAME, LOOKS_FOR (for messages), `find(path)` (its index file, or None) and `read(path, found) -> RawScene`.
"""

from . import colmap, idr, middlebury, mvsnet, nmr, srn, strecha, transforms
from .common import Frame, RawScene

# MVSNet's camera files come last: COLMAP models that they were made from know more, such as sparse points.
READERS = (transforms, nmr, idr, middlebury, strecha, srn, colmap, mvsnet)

__all__ = ["READERS", "Frame", "RawScene"]
