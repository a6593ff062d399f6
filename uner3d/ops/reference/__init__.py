"""Plain-torch twins of the ops: slow, obvious, in any float type; what the kernels are tested against."""

from .composite import composite
from .positional_encoding import positional_encoding

__all__ = ["composite", "positional_encoding"]
