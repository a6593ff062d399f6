"""What is installed here and what it can do: versions, instruction sets, CUDA, optional packages, the commit."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import __version__
from .optional import EXTRAS, MissingPackageError, require

_PACKAGE = Path(__file__).resolve().parent


def info() -> dict[str, Any]:
    """The installation as plain values, ready for json.dump.

    version, commit (see ``git_commit``), python, platform, torch, numpy; isas (instruction sets of the kernels that are
    built and run here, narrowest first), isa (the one in use), threads (of CPU kernels), cpus; cuda_built (whether the
    kernels are), cuda_problem (why PyTorch or the kernels cannot use CUDA, None where both can), device (what
    ``--device auto`` means here); packages: for each optional package its version, or a
    sentence that says what to install.
    """
    import numpy
    import torch

    from .device import cuda_problem, describe, resolve_device
    from .ops import _native

    return {
        "version": __version__,
        "commit": git_commit(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "isas": _native.available_isas(),
        "isa": _native.get_isa(),
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "cuda_built": bool(_native.cuda.cuda_built()),
        "cuda_problem": cuda_problem(),
        "device": describe(resolve_device("auto")),
        "packages": optional_packages(),
    }


def info_text() -> str:
    """``info()`` for people: one line per entry."""
    found = info()
    chosen = ", ".join(f"{isa} (in use)" if isa == found["isa"] else isa for isa in found["isas"])
    lines = {
        "uner3d": f"{found['version']} ({'commit ' + found['commit'] if found['commit'] else 'commit not known'})",
        "python": f"{found['python']}, {found['platform']}",
        "torch": found["torch"],
        "numpy": found["numpy"],
        "CPU kernels": chosen,
        "threads": f"{found['threads']} of {found['cpus']} CPUs",
        "CUDA": found["cuda_problem"] or "available",
        "device auto": found["device"],
        **found["packages"],
    }
    width = max(map(len, lines))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines.items())


def optional_packages() -> dict[str, str]:
    """For each optional package its version, or what is missing and how to install it.

    Installed ones are imported: only that shows whether the system libraries that they need are there.
    """
    distributions = importlib.metadata.packages_distributions()
    return {name: _package_state(name, distributions) for name in EXTRAS}


def git_commit() -> str | None:
    """The commit this package was installed from, shortened to 12 digits; None where that cannot be told.

    That is the HEAD of the checkout the package lies in, with "-dirty" where tracked files differ from it or, for a
    package installed into a virtual environment inside its own checkout, where its Python files do; or else the commit
    that pip noted for an installation from a Git address.
    """
    top = _git(_PACKAGE, "rev-parse", "--show-toplevel")
    source = Path(top) / "uner3d" if top else None
    # The package may also lie in the checkout of another project, in its virtual environment.
    if source is None or not _git(Path(str(top)), "ls-files", "uner3d/__init__.py", "csrc"):
        return _commit_noted_by_pip()
    commit = _git(source, "rev-parse", "--short=12", "HEAD")
    if not commit:  # a repository without a commit
        return None
    changed = _git(source, "status", "--porcelain", "--untracked-files=no", "--", ":/")
    return commit + ("-dirty" if changed or not _same_python_files(source, _PACKAGE) else "")


def _package_state(name: str, distributions: Any) -> str:
    if find_spec(name) is None:
        return f"not installed: pip install 'uner3d[{EXTRAS[name]}]'"
    try:
        module = require(name)
    except MissingPackageError as error:
        return str(error)
    owners = distributions.get(name)
    return importlib.metadata.version(owners[0]) if owners else str(getattr(module, "__version__", "installed"))


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints about ``folder``, or None where it is not installed or refuses."""
    # GIT_DIR and its like would point to another repository, for instance inside a hook.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True, text=True, timeout=20, check=True, env={**environment, "GIT_OPTIONAL_LOCKS": "0"},
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _same_python_files(source: Path, installed: Path) -> bool:
    if source == installed:
        return True
    a, b = ({path.relative_to(top): path.read_bytes() for path in top.rglob("*.py")} for top in (source, installed))
    return a == b


def _commit_noted_by_pip() -> str | None:
    try:
        noted = importlib.metadata.distribution("uner3d").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return None
    commit = json.loads(noted).get("vcs_info", {}).get("commit_id") if noted else None
    return commit[:12] if commit else None
