"""The portable module stays portable, and the instruction set can be chosen."""

import platform
import re
import shutil
import subprocess

import pytest
import torch

from uner3d import _C, ops
from uner3d.ops import _native

X86 = platform.machine() in ("x86_64", "AMD64")
WIDE_REGISTER = re.compile(r"%[yz]mm\d")


@pytest.fixture(autouse=True)
def restore_isa():
    before = ops.get_isa()
    yield
    ops.set_isa(before)


def n_wide_instructions(path: str) -> int:
    disassembler = subprocess.Popen(
        ["objdump", "-d", "--no-show-raw-insn", path], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert disassembler.stdout is not None
    with disassembler.stdout as lines:
        n_wide = sum(WIDE_REGISTER.search(line) is not None for line in lines)
    assert disassembler.wait() == 0
    return n_wide


@pytest.mark.skipif(not X86, reason="instruction sets are chosen at run time on x86-64 alone")
@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump is not installed")
def test_baseline_holds_no_wide_instruction():
    """A single function compiled for AVX that the linker kept would crash older processors."""
    assert n_wide_instructions(_C.__file__) == 0


@pytest.mark.skipif(not X86, reason="instruction sets are chosen at run time on x86-64 alone")
@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump is not installed")
def test_wide_modules_are_wide():
    """What the test above looks for is there to be found."""
    wide = [isa for isa in ops.available_isas() if isa != "baseline"]
    for isa in wide:
        ops.set_isa(isa)
        assert n_wide_instructions(_native.cpu.__file__) > 1000


def test_baseline_is_always_available():
    isas = ops.available_isas()
    assert isas[0] == "baseline" and _C.best_isa() in _native.ISA_MODULES
    assert all(isa in _native.ISA_MODULES for isa in isas)


@pytest.mark.parametrize("isa", ops.available_isas())
def test_set_isa_changes_the_module_of_the_kernels(isa):
    ops.set_isa(isa)
    assert ops.get_isa() == isa
    assert _native.cpu.__name__ == _native.ISA_MODULES[isa]
    assert _native.cuda is _C
    out = ops.positional_encoding(torch.tensor([0.5]), 1)
    torch.testing.assert_close(out, torch.tensor([0.5, 1.0, 0.0]))


@pytest.mark.parametrize("isa", ["sse9", "", "AVX2"])
def test_unknown_isa_is_refused(isa):
    before = ops.get_isa()
    with pytest.raises(ValueError, match=r"isa: expected one of .*baseline.* got "):
        ops.set_isa(isa)
    assert ops.get_isa() == before


def test_an_isa_this_processor_lacks_is_refused(monkeypatch):
    class OldProcessor:
        @staticmethod
        def best_isa() -> str:
            return "baseline"

    monkeypatch.setattr(_native, "_baseline", OldProcessor)
    assert ops.available_isas() == ["baseline"]
    with pytest.raises(ValueError, match=r"isa: expected one of \['baseline'\] on this machine, got 'avx512'"):
        ops.set_isa("avx512")
