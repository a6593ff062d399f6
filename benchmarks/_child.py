"""Python processes of their own that use the same uner3d as this one, whether installed or from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import uner3d

ROOT = Path(__file__).resolve().parent.parent


def run_module(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``python -m module arguments``, its words captured. Paths among the arguments must be absolute: the process does
    not start in this one's folder, which Python would search for packages first."""
    package = Path(uner3d.__file__).resolve().parents[1]
    places = [str(package), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True)
