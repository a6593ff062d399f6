"""Optional packages: imported when first needed, and named in a sentence when they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

# import name -> the extra of this package that installs it
EXTRAS = {
    "open3d": "open3d",
    "viser": "view",
    "pycolmap": "sfm",
    "pykdtree": "bench",
    "napf": "bench",
    "faiss": "bench",
}


class MissingPackageError(ImportError):
    """An optional package, or a system library that it needs, is not installed. The message says what to install."""


def require(name: str) -> ModuleType:
    """Import the optional package ``name`` (a key of ``EXTRAS``) or raise MissingPackageError that names the remedy."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:  # it is installed, but something that it imports is not
            raise MissingPackageError(f"{name} is installed but does not import: {error}") from error
        raise MissingPackageError(f"{name} is not installed: pip install 'uner3d[{EXTRAS[name]}]'") from error
    except (ImportError, OSError) as error:  # a shared library is missing; Open3D raises OSError for it
        raise MissingPackageError(_library_sentence(name, str(error))) from error


def _library_sentence(name: str, error: str) -> str:
    library = error.split(":", 1)[0].strip()
    remedies = {"libusb-1.0": "libusb-1.0-0", "libGL.so": "libgl1", "libgomp": "libgomp1", "libX11": "libx11-6"}
    for stem, package in remedies.items():
        if stem in error:
            return (
                f"{name} is installed but the system library {library} is missing: "
                f"apt-get install {package} (or your system's package of it)"
            )
    return f"{name} is installed but does not load: {error}"
