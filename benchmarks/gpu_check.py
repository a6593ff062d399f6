"""The stages of gpu_check.sh, which says what this is for: build, gpu tests, compute-sanitizer, benchmarks.

A stage that fails or takes too long is reported, and the next one runs; what hangs on the build is then skipped. The
tools of compute-sanitizer run beside the tests; nothing runs beside a benchmark.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks._stages import ROOT, Run, last_line, status

BUILD, SITE = ROOT / "build" / "gpu", ROOT / "build" / "gpu_site"
DRIVER = BUILD / "uner3d_sanitize"
SECONDS = 465  # for all stages; the caller promises 8 minutes
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
SANITIZER_ERRORS = 86  # exit code that we ask of compute-sanitizer
UNABLE = re.compile(
    r"Device not supported|not supported on this|Failed to initialize|Unable to (?:start|attach|initialize)"
    r"|Target application terminated before first instrumented API call|requires? .*(?:privilege|permission)",
    re.IGNORECASE,
)
BENCHMARKS = {  # those that compile their peers for long come last
    "knn": ["--points", "100000", "1000000", "--clouds", "surface", "uneven"],
    "idw": ["--points", "200000"],
    "patch_match": ["--size", "800x600"],
    "patch_ncc": ["--case", "65536x8"],
    "positional_encoding": ["--points", "4000000"],
    "composite": ["--rays", "65536"],
    "fuse_views": ["--case", "8x1000000x32"],
    "sample_views": ["--case", "8x1500000x4"],
    "view_weights": ["--case", "8x1000000"],
}


def machine() -> dict[str, Any]:
    """Device, driver, versions and commit: what every figure of this run is to be quoted with."""
    import torch

    query = "name,driver_version,compute_cap,memory.total"
    names = ("gpu", "driver", "compute_capability", "memory")
    values = last_line("nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader").split(", ")
    found = dict(zip(names, values, strict=False))
    capability = found.get("compute_capability", "")
    if not re.fullmatch(r"\d+\.\d", capability):  # drivers before 2021 do not answer this
        capability = ".".join(map(str, torch.cuda.get_device_capability()))
    # The checkout may come without its history: COMMIT then says what it is.
    commit = os.environ.get("COMMIT") or last_line("git", "rev-parse", "HEAD") or "unknown"
    return found | {
        "compute_capability": capability,
        "torch": torch.__version__,
        "torch_cuda": torch.version.cuda,
        "python": sys.version.split()[0],
        "nvcc": last_line("nvcc", "--version"),
        "cmake": last_line("cmake", "--version"),
        "commit": commit,
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def build(run: Run, capability: str) -> dict[str, Any]:
    """Installs the package into a folder of its own, for this GPU alone, then builds the driver in the same tree."""
    shutil.rmtree(SITE, ignore_errors=True)
    settings = {
        "build-dir": BUILD.relative_to(ROOT),
        "cmake.define.UNER3D_CUDA": "ON",
        "cmake.define.UNER3D_SANITIZE": "ON",
        "cmake.define.CMAKE_CUDA_ARCHITECTURES": capability.replace(".", "") + "-real",
    }
    code, output = run.command(
        "build", 180, sys.executable, "-m", "pip", "install", "--verbose", "--no-index", "--no-build-isolation",
        "--no-deps", "--disable-pip-version-check", "--target", SITE,
        *(f"--config-settings={key}={value}" for key, value in settings.items()), ".",
    )  # fmt: skip
    return {"status": status(code), "warnings": len(re.findall(r"\bwarning\b[: #]", output))}


def build_driver(run: Run) -> dict[str, Any]:
    code, _ = run.command("build of the driver", 45, "cmake", "--build", BUILD, "--target", "uner3d_sanitize")
    return {"status": status(code)}


def side_by_side() -> tuple[list[str], dict[str, str]]:
    """Options of pytest that run the files of tests in several processes, and the threads each may take."""
    cpus = len(os.sched_getaffinity(0))
    processes = min(4, cpus // 4)
    if processes < 2 or importlib.util.find_spec("xdist") is None:
        return [], {}
    return ["-n", str(processes), "--dist", "loadfile"], {"OMP_NUM_THREADS": str(cpus // processes)}


def test(run: Run) -> dict[str, Any]:
    """The tests marked gpu. That none ran is a failure: a test that skips because of the GPU has seen nothing."""
    options, threads = side_by_side()
    files = sorted(p for p in (ROOT / "tests").rglob("test_*.py") if "mark.gpu" in p.read_text(encoding="utf-8"))
    junit = run.out / "junit.xml"
    code, _ = run.command(
        "gpu tests", 200, sys.executable, "-m", "pytest", "-v", "-m", "gpu", "--durations=25", "-p", "no:cacheprovider",
        f"--junitxml={junit}", *options, *(path.relative_to(ROOT) for path in files), **threads,
    )  # fmt: skip
    if not junit.exists():
        return {"status": "timed out" if code is None else "failed"}
    counts = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for suite in ElementTree.parse(junit).getroot().iter("testsuite"):
        for key in counts:
            counts[key] += int(suite.get(key, 0))
    counts["passed"] = counts["tests"] - counts["failures"] - counts["errors"] - counts["skipped"]
    return {"status": "failed" if code == 0 and counts["passed"] == 0 else status(code), **counts}


def sanitize(run: Run, tool: str) -> dict[str, Any]:
    """The driver under one tool. A tool that cannot work here is not a failure, nor is it a pass."""
    program = shutil.which("compute-sanitizer", path=f"{os.environ['PATH']}:/usr/local/cuda/compute-sanitizer")
    if program is None:
        return {"status": "not available", "why": "compute-sanitizer was not found"}
    options = ["--leak-check", "full"] if tool == "memcheck" else []
    code, output = run.command(
        f"compute-sanitizer {tool}", 60, program, "--tool", tool, *options, "--error-exitcode", SANITIZER_ERRORS, DRIVER
    )
    said = [line.strip("= ") for line in output.splitlines() if "SUMMARY:" in line]
    unable = UNABLE.search(output)
    if code != 0 and unable:
        return {"status": "not available", "why": unable.group()}
    if code is not None and not said and "ok  " not in output:  # not a word from the driver either
        return {"status": "not available", "why": output.strip()[-300:] or "it printed nothing"}
    return {"status": status(code) if said or code is None else "failed", "summary": said}


def driver(run: Run) -> dict[str, Any]:
    """Without a tool: whether the kernels agree with the CPU, before anything is said about how they got there."""
    code, output = run.command("driver", 20, DRIVER)
    return {"status": status(code), "last_line": output.strip().splitlines()[-1:]}


def benchmark(run: Run, name: str) -> dict[str, Any]:
    """One benchmark on CUDA; each checks its results before it times them."""
    path = BUILD / f"bench_{name}.json"
    path.unlink(missing_ok=True)
    module = f"benchmarks.bench_{name}"
    code, _ = run.command(
        f"benchmark {name}", 90, sys.executable, "-m", module, "--device", "cuda", *BENCHMARKS[name], "--json", path
    )
    figures = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    return {"status": status(code), "result": figures}


def stages(
    run: Run, capability: str, ready: bool = False, names: Iterable[str] = tuple(BENCHMARKS)
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and result of each. What needs the build is skipped without it, unless it is ``ready``; the tools look at a
    wrong driver too."""
    skipped = {"status": "skipped"}
    built = skipped if ready else build(run, capability)
    yield "build", built
    works = ready or built["status"] == "passed"
    linked = skipped if ready else build_driver(run) if works else skipped
    yield "build_driver", linked
    has_driver = DRIVER.exists() if ready else linked["status"] == "passed"
    yield "driver", driver(run) if has_driver else skipped
    with ThreadPoolExecutor() as pool:
        tested = pool.submit(test, run) if works else None
        for tool in TOOLS:
            yield f"sanitizer_{tool}", sanitize(run, tool) if has_driver else skipped
        yield "gpu_tests", tested.result() if tested else skipped
    for name in names:
        yield f"benchmark_{name}", benchmark(run, name) if works else skipped


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/gpu"))
    parser.add_argument("--built", action="store_true", help="build/gpu and build/gpu_site are there: not again")
    parser.add_argument("--benchmarks", nargs="*", choices=BENCHMARKS, default=list(BENCHMARKS), metavar="NAME")
    args = parser.parse_args()
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    for name in ("gpu_check.json", "gpu_check.log", "junit.xml"):
        (out / name).unlink(missing_ok=True)
    run, record = Run(out, SECONDS, [SITE, ROOT]), {"machine": machine(), "stages": {}}
    print(json.dumps(record["machine"], indent=2), flush=True)
    for name, result in stages(run, record["machine"]["compute_capability"], args.built, args.benchmarks):
        record["stages"][name] = result
        (out / "gpu_check.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")  # survives a kill
    print()
    for name, result in record["stages"].items():
        print(f"{name:<32} {result['status']:<14} {result.get('why') or ''}")
    left_out = ("build", "build_driver") if args.built else ()
    return any(
        result["status"] not in ("passed", "not available")
        for name, result in record["stages"].items()
        if name not in left_out
    )


if __name__ == "__main__":
    sys.exit(main())
