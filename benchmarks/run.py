"""All benchmarks of the ops, one after another, each in a process of its own.

python -m benchmarks.run [--out out/bench] [--threads 2] [NAME ...]

Writes NAME.json and NAME.log per benchmark. A benchmark checks its results against its peers before it times them, so a
non-zero exit means a wrong result; it is reported and the others still run.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Run the benchmarks; the exit code counts those that failed."""
    names = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", default=names, help=f"of {', '.join(names)}")
    parser.add_argument("--out", type=Path, default=Path("out/bench"))
    parser.add_argument("--threads", default="2")
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
        result = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True)
        (args.out / f"{name}.log").write_text(result.stdout + result.stderr)
        print(f"== {name}\n{result.stdout}", flush=True)
        if result.returncode:
            failed += 1
            print(f"== {name} FAILED\n{result.stderr[-2000:]}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
