"""The kernels of uner3d, usable on their own with any PyTorch: CPU (native, threaded) and CUDA."""

from ._native import available_isas, get_isa, set_isa
from ._output import release_memory
from .blend_views import blend_views
from .composite import CompositeResult, composite
from .density_grid import grid_cells, grid_update
from .fuse_views import fuse_views
from .idw import idw
from .knn import knn
from .knn_index import KnnIndex
from .patch_match import patch_match
from .patch_ncc import patch_ncc
from .positional_encoding import positional_encoding
from .ray_edges import ray_edges
from .sample_views import sample_views
from .sample_voxels import sample_voxels
from .thin import PoissonThinner, voxel_thin
from .view_weights import view_weights

__all__ = [
    "CompositeResult",
    "KnnIndex",
    "PoissonThinner",
    "available_isas",
    "blend_views",
    "composite",
    "fuse_views",
    "get_isa",
    "grid_cells",
    "grid_update",
    "idw",
    "knn",
    "patch_match",
    "patch_ncc",
    "positional_encoding",
    "ray_edges",
    "release_memory",
    "sample_views",
    "sample_voxels",
    "set_isa",
    "view_weights",
    "voxel_thin",
]
