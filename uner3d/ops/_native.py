"""Chooses the compiled module that fits this CPU: one shared object per instruction set."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from uner3d import _C as _baseline

ISA_MODULES = {"baseline": "uner3d._C", "avx2": "uner3d._C_avx2", "avx512": "uner3d._C_avx512"}
_ORDER = list(ISA_MODULES)


def available_isas() -> list[str]:
    """Instruction sets that are both built and supported here, narrowest first."""
    usable = _ORDER[: _ORDER.index(_baseline.best_isa()) + 1]
    return [isa for isa in usable if importlib.util.find_spec(ISA_MODULES[isa]) is not None]


def set_isa(isa: str) -> None:
    """Make CPU kernels use ``isa`` ("baseline", "avx2" or "avx512"); for tests and benchmarks.

    Raises ValueError where it is not built or this CPU lacks it.
    """
    if isa not in available_isas():
        raise ValueError(f"isa: expected one of {available_isas()} on this machine, got {isa!r}")
    global cpu, _isa
    cpu, _isa = importlib.import_module(ISA_MODULES[isa]), isa


def get_isa() -> str:
    """The instruction set the CPU kernels use now."""
    return _isa


cuda: ModuleType = _baseline  # the CUDA kernels, or stubs that say why they are absent, live in the baseline module
memory: ModuleType = _baseline  # one pool of output memory, whatever the instruction set
cpu: ModuleType = _baseline
_isa = "baseline"
set_isa(available_isas()[-1])
