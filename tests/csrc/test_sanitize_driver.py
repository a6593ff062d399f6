"""The driver for compute-sanitizer (csrc/sanitize), with its kernels emulated on the CPU: its inputs, its use of the
launchers and its tolerances hold before it meets a GPU. The memory of a device and its races are left to a GPU."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CSRC = HERE.parents[1] / "csrc"
DRIVER = HERE / "sanitize"
FLAGS = ["-std=c++17", "-O1", "-ffp-contract=off", "-fno-math-errno", "-Wno-unknown-pragmas", "-pthread"]
VIEWS = ["composite", "fuse_views", "patch_match", "patch_ncc", "sample_views", "view_weights"]
VIEWS_CUDA = [
    "composite", "composite_backward", "fuse_views", "fuse_views_backward", "fuse_views_sorted", "patch_match",
    "patch_ncc", "sample_views", "sample_views_backward", "view_pairs", "view_weights", "view_weights_backward",
]  # fmt: skip
VIEWS_CPU = [
    "composite", "composite_backward", "fuse_views", "fuse_views_backward", "patch_match", "patch_ncc",
    "sample_views", "view_weights", "view_weights_backward",
]  # fmt: skip
POINTS = ["idw", "knn", "positional_encoding"]
POINTS_CUDA = [
    "idw", "idw_backward", "knn", "knn_backward", "knn_build", "pair_reduce", "positional_encoding", "radix_sort",
    "spatial_order",
]  # fmt: skip
POINTS_CPU = ["idw", "knn", "knn_build", "positional_encoding"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed"),
]


def compile_and_run(folder: Path, sources: list[Path], shim: Path) -> str:
    objects = [folder / f"{path.parent.name}_{path.stem}{path.suffix[1:]}.o" for path in sources]

    def compile_one(source: Path, target: Path) -> None:
        run("g++", *FLAGS, f"-I{shim}", "-x", "c++", "-c", source, "-o", target)

    with ThreadPoolExecutor() as pool:
        list(pool.map(compile_one, sources, objects))
    run("g++", *objects, "-o", folder / "driver", "-pthread")
    return run(folder / "driver")


def run(*command: str | Path) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def driver(cases: list[str]) -> list[Path]:
    return [DRIVER / f"{name}.cpp" for name in ("main", "check", "memory_on_host", *cases)]


def check_output(output: str, cases: list[str]) -> None:
    assert all(f"ok       {case}" in output for case in cases), output
    assert f"{len(cases)} cases, " in output and output.rstrip().endswith(" 0 wrong")


def test_ops_over_views_and_rays(tmp_path):
    sources = [CSRC / "cuda" / f"{name}.cu" for name in VIEWS_CUDA] + [HERE / "host_cuda" / "fibers.cpp"]
    sources += [CSRC / "cpu" / f"{name}.cpp" for name in VIEWS_CPU]
    check_output(compile_and_run(tmp_path, driver(VIEWS) + sources, HERE / "host_cuda"), VIEWS)


def test_ops_over_points(tmp_path):
    spec = importlib.util.spec_from_file_location("build_cuda_on_cpu", HERE / "cuda_on_cpu" / "build.py")
    assert spec is not None and spec.loader is not None
    emulation = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(emulation)
    copy = tmp_path / "csrc"
    shutil.copytree(CSRC, copy, ignore=shutil.ignore_patterns("bind"))
    sources = [copy / "cuda" / f"{name}.cu" for name in POINTS_CUDA]
    for source in sources:
        source.write_text(emulation.rewritten(source.read_text(encoding="utf-8")), encoding="utf-8")
    sources += [copy / "cpu" / f"{name}.cpp" for name in POINTS_CPU]
    check_output(compile_and_run(tmp_path, driver(POINTS) + sources, HERE / "cuda_on_cpu"), POINTS)


def test_every_case_is_built():
    """A file that CMake does not name would be tested here and not there."""
    named = (DRIVER / "CMakeLists.txt").read_text(encoding="utf-8")
    assert all(path.name in named for path in DRIVER.glob("*.cpp") if path.name != "memory_on_host.cpp")
