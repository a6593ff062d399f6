"""Compiles the CUDA kernels over views, rays and images for the CPU: see host_cuda/cuda_runtime.h."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHIM = Path(__file__).with_name("host_cuda")
KERNELS = [
    "composite", "composite_backward", "fuse_views", "fuse_views_backward", "fuse_views_sorted", "patch_match",
    "patch_ncc", "sample_views", "sample_views_backward", "view_pairs", "view_weights", "view_weights_backward",
]  # fmt: skip
BINDINGS = ["composite_cuda", "fuse_views_cuda", "patch_match_cuda", "patch_ncc_cuda", "sample_views_cuda",
            "view_weights_cuda"]  # fmt: skip
FLAGS = ["-std=c++17", "-O1", "-fPIC", "-fvisibility=hidden", "-Wno-unknown-pragmas"]


def run(*command: str | Path) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stderr}"


def build(folder: Path) -> ModuleType:
    """The module, built in ``folder``; skips where a C++ compiler or pybind11 is not installed."""
    pybind11 = pytest.importorskip("pybind11", reason="pybind11 is not installed")
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed")
    python = [f"-I{pybind11.get_include()}", f"-I{sysconfig.get_paths()['include']}"]
    sources = [ROOT / "csrc" / "cuda" / f"{name}.cu" for name in KERNELS]
    sources += [ROOT / "csrc" / "bind" / f"{name}.cpp" for name in BINDINGS]
    sources += [SHIM / "fibers.cpp", SHIM / "module.cpp"]
    objects = [folder / f"{path.parent.name}_{path.stem}.o" for path in sources]
    with ThreadPoolExecutor() as pool:
        compile_one = lambda s, o: run(compiler, *FLAGS, f"-I{SHIM}", *python, "-x", "c++", "-c", s, "-o", o)  # noqa: E731
        list(pool.map(compile_one, sources, objects))
    built = folder / "host_cuda_module.so"
    run(compiler, "-shared", *objects, "-o", built)
    spec = importlib.util.spec_from_file_location("host_cuda_module", built)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
