"""Plain-torch twins of the ops: slow, obvious, in any float type; what the kernels are tested against."""

from .idw import idw
from .knn import knn
from .positional_encoding import positional_encoding

__all__ = ["idw", "knn", "positional_encoding"]
