"""Runs the commands of gpu_check.py: against one deadline, each with a limit of its own, all into one log."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_LOG = 1_000_000  # bytes of one command that are kept: the whole log stays below 16 MB


class Run:
    """One run of all stages."""

    def __init__(self, out: Path, seconds: float, path: list[Path]) -> None:
        self.out, self.end = out, time.monotonic() + seconds
        self.log = (out / "gpu_check.log").open("w", encoding="utf-8")
        self.lock = threading.Lock()
        given = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p and p not in map(str, path)]
        found = os.pathsep.join([*map(str, path), *given])
        self.environment = os.environ | {"PYTHONPATH": found, "PYTHONUNBUFFERED": "1"}

    def seconds_left(self) -> float:
        return self.end - time.monotonic()

    def command(self, title: str, seconds: float, *command: object, **environment: str) -> tuple[int | None, str]:
        """Exit code (None: it took too long) and output, which also goes to the log. May be called from threads."""
        started, left = time.monotonic(), self.seconds_left()
        code, output = None, "not started: no time is left"
        if left > 2:
            code, output = run(list(map(str, command)), min(seconds, left), self.environment | environment)
        took = f"{time.monotonic() - started:.1f} s, " + ("out of time" if code is None else f"exit code {code}")
        with self.lock:
            self.log.write(f"\n== {title}: {took}\n$ {' '.join(map(str, command))}\n{output}\n")
            self.log.flush()
            print(f"== {title}: {took}", flush=True)
        return code, output


def run(command: list[str], seconds: float, environment: dict[str, str]) -> tuple[int | None, str]:
    """In a process group of its own, so that what the command starts ends with it.

    The output goes through a file: a pipe would be waited for as long as anybody holds its other end.
    """
    with tempfile.TemporaryFile() as file:
        try:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            return 127, str(error)
        try:
            code: int | None = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            code = None
        file.seek(0)
        output = file.read()
    if len(output) > MOST_LOG:
        output = output[: MOST_LOG // 2] + b"\n[...]\n" + output[-MOST_LOG // 2 :]
    return code, output.decode(errors="replace")


def status(code: int | None) -> str:
    return "timed out" if code is None else "passed" if code == 0 else "failed"


def last_line(*command: str) -> str:
    """The last line that a command prints, where versions stand; empty where it fails."""
    code, output = run(list(command), 20, dict(os.environ))
    lines = output.strip().splitlines()
    return lines[-1].strip() if code == 0 and lines else ""
