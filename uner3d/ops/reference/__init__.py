"""Plain-torch twins of the ops: slow, obvious, in any float type; what the kernels are tested against."""

from .blend_views import blend_views
from .composite import composite
from .fuse_views import fuse_views
from .idw import idw
from .knn import knn
from .patch_ncc import patch_ncc
from .positional_encoding import positional_encoding
from .sample_views import sample_views
from .view_weights import view_weights

__all__ = [
    "blend_views",
    "composite",
    "fuse_views",
    "idw",
    "knn",
    "patch_ncc",
    "positional_encoding",
    "sample_views",
    "view_weights",
]
