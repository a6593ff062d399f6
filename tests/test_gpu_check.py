"""benchmarks/gpu_check.sh, as far as it goes without a GPU: it says so at once, and its stages end in time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "gpu_check.sh"
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # at the end: the package under test is the installed one

from benchmarks import gpu_check  # noqa: E402
from benchmarks._stages import MOST_LOG, Run  # noqa: E402

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


def program(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!{shutil.which('bash')}\n{body}\n")
    path.chmod(0o755)


def check(path: Path, **environment: str) -> subprocess.CompletedProcess:
    """The script where ``path`` holds all programs there are."""
    for name in ("bash", "dirname", "timeout"):
        (path / name).symlink_to(shutil.which(name))
    return subprocess.run(
        [shutil.which("bash"), SCRIPT], env={"PATH": str(path), "OUT": str(path / "out"), **environment},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_is_valid_bash():
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    assert os.access(SCRIPT, os.X_OK)


@pytest.mark.parametrize("answer", [None, "exit 9"], ids=["no nvidia-smi", "no device"])
def test_without_a_gpu(tmp_path, answer):
    if answer:
        program(tmp_path, "nvidia-smi", answer)
    started = time.monotonic()
    done = check(tmp_path)
    assert done.returncode == 2 and time.monotonic() - started < 5
    assert done.stderr.startswith("gpu_check: no NVIDIA GPU here: nvidia-smi") and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_a_compiler(tmp_path):
    if Path("/usr/local/cuda/bin/nvcc").exists():
        pytest.skip("nvcc is where the script looks for it")
    for name in ("nvidia-smi", "python3", "cmake"):
        program(tmp_path, name, "exit 0")
    done = check(tmp_path)
    assert done.returncode == 2 and "nvcc was not found" in done.stderr


def test_without_cuda_in_torch(tmp_path):
    for name in ("nvidia-smi", "nvcc", "cmake"):
        program(tmp_path, name, "exit 0")
    done = check(tmp_path, PYTHON=sys.executable, CUDA_VISIBLE_DEVICES="-1")
    assert done.returncode == 2 and "no PyTorch that can use this GPU" in done.stderr


def test_a_stage_that_hangs_ends_with_all_it_started(tmp_path):
    run, started = Run(tmp_path, 60, [tmp_path]), time.monotonic()
    mark = tmp_path / "late"
    code, output = run.command("hangs", 1, "bash", "-c", f"echo begun; (sleep 4; touch {mark}) & sleep 100")
    assert code is None and output == "begun\n" and time.monotonic() - started < 4
    time.sleep(5 - (time.monotonic() - started))
    assert not mark.exists()
    assert "out of time" in (tmp_path / "gpu_check.log").read_text()


def test_no_stage_starts_after_the_end(tmp_path):
    code, _ = Run(tmp_path, 1, [tmp_path]).command("late", 10, "touch", tmp_path / "late")
    assert code is None and not (tmp_path / "late").exists()


def test_output_is_cut(tmp_path):
    code, output = Run(tmp_path, 60, [tmp_path]).command("talks", 30, "bash", "-c", f"head -c {3 * MOST_LOG} /dev/zero")
    assert code == 0 and len(output) < 1.1 * MOST_LOG


@pytest.mark.parametrize(
    ("says", "status"),
    [
        ("echo 'ok  knn'; echo '========= ERROR SUMMARY: 0 errors'", "passed"),
        ("echo 'ok  knn'; echo '========= ERROR SUMMARY: 2 errors'; exit 86", "failed"),
        ("echo 'MISMATCH knn'; echo '========= ERROR SUMMARY: 0 errors'; exit 1", "failed"),
        ("echo 'ok  knn'; exit 139", "failed"),
        ("echo '= Error: Device not supported'; echo '= ERROR SUMMARY: 1 error'; exit 1", "not available"),
        ("echo 'cannot load a library'; exit 127", "not available"),
        ("exit 0", "not available"),
    ],
)  # fmt: skip
def test_what_a_tool_of_compute_sanitizer_says(tmp_path, monkeypatch, says, status):
    program(tmp_path, "compute-sanitizer", says)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert gpu_check.sanitize(Run(tmp_path, 60, [tmp_path]), "memcheck")["status"] == status


def test_nothing_runs_beside_a_benchmark(monkeypatch):
    """The tools run beside the tests, the benchmarks after both; without a build there is nothing to run."""
    happened, passed = [], {"status": "passed"}

    def stage(name, seconds=0.0):
        def run(run, what=name):
            time.sleep(seconds)
            happened.append(what)
            return passed

        monkeypatch.setattr(gpu_check, name, run)

    for name in ("build", "build_driver", "driver", "sanitize", "benchmark"):
        stage(name)
    stage("test", seconds=0.5)
    found = dict(gpu_check.stages(None, "9.0"))
    assert all(result is passed for result in found.values())
    assert happened[-len(gpu_check.BENCHMARKS) - 1 :] == ["test", *gpu_check.BENCHMARKS]
    assert set(gpu_check.TOOLS) < set(happened)
    monkeypatch.setattr(gpu_check, "build", lambda run, capability: {"status": "failed"})
    assert {result["status"] for name, result in gpu_check.stages(None, "9.0") if name != "build"} == {"skipped"}


def test_every_op_with_cuda_kernels_is_benchmarked():
    cuda = {path.name.removesuffix("_cuda.cpp") for path in (ROOT / "csrc" / "bind").glob("*_cuda.cpp")}
    assert cuda <= set(gpu_check.BENCHMARKS)
    for name in gpu_check.BENCHMARKS:
        assert "add_device(parser)" in (ROOT / "benchmarks" / f"bench_{name}.py").read_text()


def test_every_launcher_is_driven():
    """Each function of namespace cuda in csrc/ops is called by the driver that compute-sanitizer runs."""
    driver = "".join(path.read_text() for path in (ROOT / "tests" / "csrc" / "sanitize").glob("*.*"))
    for header in (ROOT / "csrc" / "ops").glob("*.h"):
        declared = header.read_text().partition("namespace cuda {")[2].partition("}  // namespace cuda")[0]
        for line in declared.splitlines():
            if line.startswith(("void ", "std::int64_t ")):
                name = line.split("(")[0].split()[-1]
                assert f"cuda::{name}(" in driver, f"{header.name}: {name}"
