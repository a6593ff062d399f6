"""The CUDA build compiles without warnings on a machine without a GPU, and links the CUDA runtime statically."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NVCC = os.environ.get("CUDACXX") or shutil.which("nvcc")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NVCC is None, reason="nvcc is not installed (CUDACXX names it where it is not on the PATH)"),
    pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed"),
]


def run(*command: str | Path) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def configure(folder: Path) -> None:
    pybind11 = pytest.importorskip("pybind11", reason="pybind11 is not installed")
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    run(
        "cmake", "-S", ROOT, "-B", folder, *generator, "-DUNER3D_CUDA=ON", "-DUNER3D_WERROR=ON",
        "-DUNER3D_SANITIZE=ON", "-DCMAKE_CUDA_ARCHITECTURES=90", f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        f"-DPython_EXECUTABLE={sys.executable}",
    )  # fmt: skip


@pytest.fixture(scope="module")
def module(tmp_path_factory) -> Path:
    """The baseline module with CUDA kernels for compute capability 9.0 at least; UNER3D_CUDA_BUILD names the folder of
    a build that has them, configured as here, since they take minutes."""
    kept = os.environ.get("UNER3D_CUDA_BUILD")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("cuda")
    if not kept:
        configure(folder)
    run("cmake", "--build", folder, "--target", "_C")
    (built,) = folder.glob("_C.*.so")
    return built


def test_every_kernel_is_compiled(module):
    """One object per .cu file, holding code for the asked architecture."""
    objects = {path.name for path in module.parent.glob("CMakeFiles/uner3d_cuda.dir/csrc/cuda/*.o")}
    assert objects == {f"{path.name}.o" for path in (ROOT / "csrc" / "cuda").glob("*.cu")}


def test_the_driver_for_compute_sanitizer_links(module):
    """And says in a sentence that it cannot run, as a GPU is hidden from it."""
    run("cmake", "--build", module.parent, "--target", "uner3d_sanitize")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run([module.parent / "uner3d_sanitize"], capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and done.stdout.startswith("uner3d_sanitize: no ")


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf is not installed")
def test_needs_no_cuda_library(module):
    dynamic = run("readelf", "-dW", module)
    needed = [line.split("[")[1].rstrip("]") for line in dynamic.splitlines() if "(NEEDED)" in line]
    assert any(name.startswith("libstdc++") for name in needed)
    assert not [name for name in needed if name.startswith(("libcu", "libnv", "libtorch", "libc10", "libpython"))]
    assert "RPATH" not in dynamic and "RUNPATH" not in dynamic


@pytest.mark.skipif(shutil.which("nm") is None, reason="nm is not installed")
def test_shares_no_cuda_symbol(module):
    """Neither asks others for the runtime's functions nor offers its own: PyTorch carries another version of them."""
    assert "cudaLaunchKernel" in run("nm", module)
    assert "PyInit__C" in run("nm", "-D", module)
    assert "cuda" not in run("nm", "-D", module).lower()


def test_package_works_on_the_cpu(module, tmp_path):
    """A copy of the package with this module: the kernels run, and what CUDA lacks here is said in a sentence."""
    shutil.copytree(ROOT / "uner3d", tmp_path / "uner3d", ignore=shutil.ignore_patterns("_C*", "__pycache__"))
    shutil.copy(module, tmp_path / "uner3d")
    script = (
        "import torch\n"
        "from uner3d import ops, _C\n"
        "from uner3d.ops import reference\n"
        f"assert _C.__file__.startswith(r'{tmp_path}') and _C.cuda_built() and ops.available_isas() == ['baseline']\n"
        "x = torch.linspace(-3, 3, 300).view(100, 3)\n"
        "torch.testing.assert_close(ops.positional_encoding(x, 4), reference.positional_encoding(x, 4))\n"
        "assert ops.knn(x, x, 1)[1].flatten().tolist() == list(range(100))\n"
        "print(_C.cuda_problem())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) > 5 and "CUDA" in done.stdout


def test_importing_torch_is_not_needed_to_load(module):
    """The module takes pointers and sizes: it loads in a process that has never seen PyTorch."""
    script = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('_C', r'{module}')\n"
        "loaded = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(loaded)\n"
        "assert 'torch' not in sys.modules and loaded.best_isa()\n"
    )
    assert importlib.util.find_spec("torch") is not None
    run(sys.executable, "-c", script)
