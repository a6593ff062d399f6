"""Registers, stack and spills of every CUDA kernel, from what `nvcc -Xptxas=-v` printed; fails where one spills.

    python .ci/kernel_resources.py BUILD_LOG [--arch sm_80 --arch sm_90]

Exit code: 0 fine, 1 a kernel spills, 2 the log does not hold what it should.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# Kernels that may spill, by a part of their name, each with the reason. None does.
MAY_SPILL: dict[str, str] = {}

ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(sm_\w+)'")
PROPERTIES = re.compile(r"Function properties for (\w+)")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
REGISTERS = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")
FILE = re.compile(r"_GLOBAL__N__[0-9a-f]+_\d+_(\w+?)_cu_")  # part of the name that nvcc gives to what is of one file


@dataclass
class Usage:
    """What one kernel, or a function it calls, takes on one architecture."""

    registers: int | None = None  # of kernels alone
    stack: int = 0
    spilled: int = 0
    shared: int = 0

    def __str__(self) -> str:
        parts = [f"{self.registers} registers" if self.registers is not None else "called"]
        parts += [f"{value} B {what}" for value, what in ((self.stack, "stack"), (self.shared, "shared")) if value]
        return ", ".join([*parts, *([f"{self.spilled} B SPILLED"] if self.spilled else [])])


def parse(log: str) -> dict[str, dict[str, Usage]]:
    """The usage by mangled name and architecture. A kernel compiled twice counts as it was the last time."""
    found: dict[str, dict[str, Usage]] = {}
    entry = name = arch = ""
    for line in log.splitlines():
        if match := ENTRY.search(line):
            entry, arch = match.groups()
            found.setdefault(entry, {})[arch] = Usage()
        elif match := PROPERTIES.search(line):
            name = match[1]
        elif (match := STACK.search(line)) and name and arch:
            usage = found.setdefault(name, {}).setdefault(arch, Usage())
            usage.stack, usage.spilled = int(match[1]), int(match[2]) + int(match[3])
        elif (match := REGISTERS.search(line)) and entry:
            shared = SHARED.search(line)
            found[entry][arch].registers = int(match[1])
            found[entry][arch].shared = int(shared[1]) if shared else 0
    return found


def demangled(names: list[str]) -> list[str]:
    tool = shutil.which("cu++filt") or shutil.which("c++filt")
    if tool is None or not names:
        return names
    text = subprocess.run([tool], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    return text.splitlines()


def shortened(name: str) -> str:
    """Without namespaces, return type and parameters: what is left tells kernels apart."""
    name = re.sub(r"\(anonymous namespace\)::|<unnamed>::|_GLOBAL__N\w*::", "", name.strip())
    depth, end = 0, len(name)
    for i, letter in enumerate(name):
        depth += {"<": 1, ">": -1}.get(letter, 0)
        if letter == "(" and depth == 0:
            end = i
            break
    name = re.sub(r"\b(uner3d|cuda|core|cub|CUB_\w+|detail)::", "", name[:end].removeprefix("void "))
    name = re.sub(r"\((?:unsigned )?(?:int|bool|long|short|char)\)(-?\w+)", r"\1", name)
    return name if len(name) <= 90 else name[:87] + "..."


def readable(found: dict[str, dict[str, Usage]]) -> dict[str, str]:
    """Names for people: the file, where the mangled name tells it, and the kernel."""
    names = dict(zip(found, map(shortened, demangled(list(found))), strict=True))
    files = {name: FILE.search(name) for name in found}
    return {name: f"{match[1]}: {names[name]}" if (match := files[name]) else names[name] for name in found}


def table(found: dict[str, dict[str, Usage]], archs: list[str]) -> str:
    names = readable(found)
    width = max(len(name) for name in names.values())
    column = max([len(str(usage)) for each in found.values() for usage in each.values()] + [8])
    rows = [f"{'kernel':{width}}  " + "  ".join(f"{arch:{column}}" for arch in archs)]
    for name in sorted(found, key=lambda n: names[n]):
        cells = (str(found[name].get(arch, "-")) for arch in archs)
        rows.append(f"{names[name]:{width}}  " + "  ".join(f"{cell:{column}}" for cell in cells))
    return "\n".join(row.rstrip() for row in rows)


def problems(found: dict[str, dict[str, Usage]], archs: list[str]) -> tuple[list[str], list[str]]:
    """Sentences about what the log lacks, and about what spills."""
    kernels = {name for name, each in found.items() if any(usage.registers is not None for usage in each.values())}
    missing = [f"{name} was not compiled for {arch}" for name in sorted(kernels) for arch in archs
               if arch not in found[name] or found[name][arch].registers is None]  # fmt: skip
    if not kernels:
        missing.append("no kernel in the log: was it compiled with -Xptxas=-v, and afresh?")
    names = readable(found)
    spills = [f"{names[name]} spills {usage.spilled} B on {arch}"
              for name, each in found.items() for arch, usage in each.items()
              if usage.spilled and not any(part in name for part in MAY_SPILL)]  # fmt: skip
    return missing, spills


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--arch", action="append", help="an architecture that every kernel must be there for")
    options = parser.parse_args(arguments)
    found = parse(options.log.read_text(encoding="utf-8", errors="replace"))
    archs = options.arch or sorted({arch for each in found.values() for arch in each})
    missing, spills = problems(found, archs)
    if found:
        print(table(found, archs))
    print(f"{len(found)} functions, {len(spills)} spills", flush=True)
    for sentence in missing + spills:
        print(f"kernel_resources: {sentence}", file=sys.stderr)
    return 2 if missing else 1 if spills else 0


if __name__ == "__main__":
    sys.exit(main())
