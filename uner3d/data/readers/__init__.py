"""One module per file format, in the order of detection.

Each has NAME, LOOKS_FOR (for messages), `find(path)` (its index file, or None) and `read(path, found) -> RawScene`.
"""

from . import colmap, idr, middlebury, strecha, transforms
from .common import Frame, RawScene

READERS = (transforms, idr, middlebury, strecha, colmap)

__all__ = ["READERS", "Frame", "RawScene"]
