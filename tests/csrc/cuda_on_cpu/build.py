"""Compiles CUDA sources for the CPU: kernel launches are rewritten, the rest is left to cuda_runtime.h beside this."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
CSRC = HERE.parents[2] / "csrc"
LAUNCH = re.compile(r"([\w:]+(?:<[\w:()]+>)?)<<<(.*?)>>>\((.*?)\);", re.DOTALL)
FLAGS = ("-std=c++17", "-O1", "-g", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno",
         "-Wno-unknown-pragmas", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")  # fmt: skip


def rewritten(source: str) -> str:
    """``kernel<<<grid, block, shared, stream>>>(arguments);`` as a call of the scheduler."""

    def replace(match: re.Match) -> str:
        kernel, setup, arguments = match.groups()
        grid_and_block = setup.rsplit(",", 2)[0]
        return f"cuda_on_cpu::launch({grid_and_block}, [&] {{ {kernel}({arguments}); }});"

    replaced, count = LAUNCH.subn(replace, source)
    assert count == source.count("<<<"), "a kernel launch was not recognised"
    return replaced


def build(folder: Path, cuda: list[str], others: list[str], pybind11_include: str, constants: dict[str, int]) -> Path:
    """The module cuda_on_cpu with these files of csrc/cuda (without .cu) and these others of csrc (paths).

    ``constants`` replaces 64-bit constants of the headers, so that small inputs exercise what only large ones would.
    """
    copy = folder / "csrc"
    (copy / "cuda").mkdir(parents=True)
    for name in ("core", "ops", "cpu", "bind"):
        (copy / name).symlink_to(CSRC / name)
    for path in (CSRC / "cuda").glob("*.cuh"):
        text = path.read_text(encoding="utf-8")
        for name, value in constants.items():
            text = re.sub(rf"(constexpr std::int64_t {name} = )[^;]*;", rf"\g<1>{value};", text)
        (copy / "cuda" / path.name).write_text(text, encoding="utf-8")
    sources = [HERE / "module.cpp", *(copy / name for name in others)]
    for name in cuda:
        sources.append(copy / "cuda" / f"{name}.cpp")
        sources[-1].write_text(rewritten((CSRC / "cuda" / f"{name}.cu").read_text(encoding="utf-8")), encoding="utf-8")
    includes = [f"-I{p}" for p in (HERE, pybind11_include, sysconfig.get_paths()["include"])]
    objects = [folder / f"{i}.o" for i in range(len(sources))]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        compile_one = lambda source, target: run("g++", *FLAGS, *includes, "-c", source, "-o", target)  # noqa: E731
        list(pool.map(compile_one, sources, objects))
    module = folder / f"cuda_on_cpu{sysconfig.get_config_var('EXT_SUFFIX')}"
    run("g++", "-shared", *FLAGS, *objects, "-o", module, "-pthread")
    return module


def run(*command: str | Path) -> None:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stderr}"
