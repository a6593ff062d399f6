"""The eager peers again under torch.compile."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch


def add_compile(parser: Any) -> None:
    """The option --compile: on a CPU compiling can take longer than the benchmark."""
    parser.add_argument("--compile", action="store_true", help="torch.compile as a peer on the CPU too, as on CUDA")


def wants_compiled(args: Any) -> bool:
    """Whether torch.compile is a peer of this run."""
    return args.compile or args.device == "cuda"


def with_compiled(peers: dict[str, Callable], wanted: bool, trial: Callable[[Callable], Any]) -> dict[str, Callable]:
    """The peers and, if ``wanted``, each of them under torch.compile where ``trial``, a call of it, runs.

    torch.compile needs a C++ compiler, on CUDA Triton and a C compiler, which not every machine has: what fails is said
    and left out. What was compiled before this call is forgotten: torch gives up on a function after a few shapes.
    Where time is short, BENCH_NO_COMPILE=1 in the environment leaves all of them out.
    """
    found = dict(peers)
    wanted = wanted and os.environ.get("BENCH_NO_COMPILE", "0") in ("", "0")
    if wanted:
        torch.compiler.reset()
    for name, peer in peers.items() if wanted else ():
        compiled = torch.compile(peer, dynamic=False)
        try:
            trial(compiled)
        except Exception as error:  # of any kind: it is the peer's, not ours
            print(f"  {name} compiled: not available, {type(error).__name__}: {str(error).splitlines()[:1]}")
        else:
            found[f"{name} compiled"] = compiled
    return found
