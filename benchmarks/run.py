"""All benchmarks of the ops, one after another, each in a process of its own.

python -m benchmarks.run [--out out/bench] [--threads 2] [--compile] [--readme benchmarks/README.md] [NAME ...]

Writes NAME.json and NAME.log per benchmark, then tables.md and plots (benchmarks/tables.py) of all JSON in the folder;
with --readme the tables also go into that file. A benchmark checks its results against its peers before it times them,
so a non-zero exit means a wrong result; it is reported and the others still run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks import tables

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Run the benchmarks; the exit code counts those that failed."""
    names = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py")
                   if "argument_parser(" in path.read_text(encoding="utf-8"))  # those of ops
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", default=names, help=f"of {', '.join(names)}")
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    parser.add_argument("--threads", default="2")
    parser.add_argument("--compile", action="store_true", help="torch.compile as a peer on the CPU too (slow)")
    parser.add_argument("--readme", type=Path, help="a file with the marks of benchmarks/tables.py to put tables into")
    args = parser.parse_args()
    unknown = sorted(set(args.names) - set(names))
    if unknown:
        parser.error(f"{unknown[0]}: expected one of {', '.join(names)}")
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in args.names:
        command = [sys.executable, "-m", f"benchmarks.bench_{name}", "--threads", args.threads]
        command += ["--json", str(args.out / f"{name}.json")]
        if args.compile and "add_compile(parser)" in (HERE / f"bench_{name}.py").read_text(encoding="utf-8"):
            command.append("--compile")
        result = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True)
        (args.out / f"{name}.log").write_text(result.stdout + result.stderr)
        print(f"== {name}\n{result.stdout}", flush=True)
        if result.returncode:
            failed += 1
            print(f"== {name} FAILED\n{result.stderr[-2000:]}", flush=True)
    if any(args.out.glob("*.json")):
        for path in tables.write(args.out, args.readme):
            print(path)
    return failed


if __name__ == "__main__":
    sys.exit(main())
