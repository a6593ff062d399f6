"""Posed photos to dense RGB point clouds at any density, without 3D supervision."""

from typing import Any

__version__ = "0.1.0"

_LAZY = {"load_scene": "uner3d.data", "fit": "uner3d.api", "predict": "uner3d.api", "generate": "uner3d.api"}


def __getattr__(name: str) -> Any:
    # Loaded when first asked for, so that `import uner3d` costs nothing.
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
