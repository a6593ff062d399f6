"""The kernels of uner3d, usable on their own with any PyTorch: CPU (native, threaded) and CUDA."""

from ._native import available_isas, get_isa, set_isa
from .fuse_views import fuse_views
from .positional_encoding import positional_encoding
from .sample_views import sample_views
from .view_weights import view_weights

__all__ = ["available_isas", "fuse_views", "get_isa", "positional_encoding", "sample_views", "set_isa", "view_weights"]
