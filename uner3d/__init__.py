"""Posed photos to dense RGB point clouds at any density, without 3D supervision."""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Loaded when first asked for, so that `import uner3d` costs nothing.
    if name == "load_scene":
        from .data import load_scene

        return load_scene
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
