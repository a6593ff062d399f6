"""The kernels of uner3d, usable on their own with any PyTorch: CPU (native, threaded) and CUDA."""

from ._native import available_isas, get_isa, set_isa
from .composite import CompositeResult, composite
from .positional_encoding import positional_encoding
from .thin import PoissonThinner, voxel_thin

__all__ = [
    "CompositeResult",
    "PoissonThinner",
    "available_isas",
    "composite",
    "get_isa",
    "positional_encoding",
    "set_isa",
    "voxel_thin",
]
