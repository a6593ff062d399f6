"""Plain-torch twins of the ops: slow, obvious, in any float type; what the kernels are tested against.

Those over grids and lattices, and blend_views, are also what runs on other devices than the CPU.
"""

from .blend_views import blend_views
from .composite import composite
from .density_grid import grid_cells, grid_update
from .fuse_views import fuse_views
from .idw import idw
from .knn import knn
from .patch_ncc import patch_ncc
from .positional_encoding import positional_encoding
from .ray_edges import ray_edges
from .sample_views import sample_views
from .sample_voxels import sample_voxels
from .view_weights import view_weights

__all__ = [
    "blend_views",
    "composite",
    "fuse_views",
    "grid_cells",
    "grid_update",
    "idw",
    "knn",
    "patch_ncc",
    "positional_encoding",
    "ray_edges",
    "sample_views",
    "sample_voxels",
    "view_weights",
]
