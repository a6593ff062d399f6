"""The table of what CUDA kernels take (.ci/kernel_resources.py), from made-up output of ptxas."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / ".ci" / "kernel_resources.py"
KERNEL = "_ZN6uner3d4cuda41_GLOBAL__N__37daf73b_9_encode_cu_b8627b306encodeILi3EEEvPKfPfl"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("kernel_resources", SCRIPT)
    module = sys.modules["kernel_resources"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["kernel_resources"]


def compiled(arch: str, registers: int, stack: int = 0, spill: int = 0, name: str = KERNEL, rest: str = "") -> str:
    """As ptxas of CUDA 13 prints it."""
    return (
        f"ptxas info    : Compiling entry function '{name}' for '{arch}'\n"
        f"ptxas info    : Function properties for {name}\n"
        f"    {stack} bytes stack frame, {spill} bytes spill stores, {2 * spill} bytes spill loads\n"
        f"ptxas info    : Used {registers} registers, used 1 barriers{rest}\n"
        "ptxas info    : Compile time = 5.1 ms\n"
    )


def run(script, tmp_path, log: str, *arguments: str) -> int:
    path = tmp_path / "log"
    path.write_text("[1/2] Building CUDA object encode.cu.o\nptxas info    : 0 bytes gmem\n" + log)
    return script.main([str(path), *arguments])


BOTH = ("--arch", "sm_80", "--arch", "sm_90")


def test_a_row_for_each_kernel_and_a_column_for_each_architecture(script, tmp_path, capsys):
    other = "_ZN6uner3d4cuda5otherEv"
    log = compiled("sm_80", 32) + compiled("sm_90", 40, stack=16, rest=", 400 bytes smem")
    log += compiled("sm_80", 8, name=other) + compiled("sm_90", 9, name=other)
    assert run(script, tmp_path, log, *BOTH) == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split() == ["kernel", "sm_80", "sm_90"]
    encode, others = rows[1:3]
    assert encode.startswith("encode: encode<3> ") and "32 registers " in encode
    assert encode.endswith("40 registers, 16 B stack, 400 B shared")
    assert others.startswith("other ") and "8 registers" in others and "9 registers" in others
    assert rows[-1] == "2 functions, 0 spills"


@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_a_spill_on_one_architecture_fails(script, tmp_path, capsys, arch):
    log = "".join(compiled(each, 255, spill=8 if each == arch else 0) for each in ("sm_80", "sm_90"))
    assert run(script, tmp_path, log) == 1
    printed = capsys.readouterr()
    assert "24 B SPILLED" in printed.out
    assert printed.err == f"kernel_resources: encode: encode<3> spills 24 B on {arch}\n"


def test_a_spill_in_a_function_that_is_called_fails_too(script, tmp_path, capsys):
    log = compiled("sm_90", 20) + (
        "ptxas info    : Function properties for slow_path\n"
        "    40 bytes stack frame, 12 bytes spill stores, 12 bytes spill loads\n"
    )
    assert run(script, tmp_path, log) == 1
    assert "slow_path spills 24 B on sm_90" in capsys.readouterr().err


def test_exceptions_are_named(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "MAY_SPILL", {"encode": "a reason"})
    assert run(script, tmp_path, compiled("sm_90", 255, spill=8)) == 0


def test_a_kernel_compiled_again_counts_as_it_is_now(script, tmp_path):
    assert run(script, tmp_path, compiled("sm_90", 255, spill=8) + compiled("sm_90", 60)) == 0


@pytest.mark.parametrize(
    ("log", "said"),
    [("", "no kernel in the log"), (compiled("sm_80", 32), f"{KERNEL} was not compiled for sm_90")],
)
def test_a_log_that_lacks_something_is_no_pass(script, tmp_path, capsys, log, said):
    assert run(script, tmp_path, log, *BOTH) == 2
    assert said in capsys.readouterr().err
