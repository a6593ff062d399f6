"""metrics.jsonl: what the steps reported, read from a GPU rarely."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

READ_EVERY = 50  # steps on a GPU: reading a value waits for all that was queued before it


class StepLog:
    """One line a group of steps: its last step and the mean of each term. A context manager that closes the file.

    On the CPU a line is written at once. On a GPU the terms stay there and come over together every ``READ_EVERY``
    steps, which also bounds how far the host runs ahead.
    """

    def __init__(self, path: Path, device: torch.device, resumed_at: int | None = None) -> None:
        if resumed_at is not None:
            _trim(path, resumed_at)
        self._every = 1 if device.type == "cpu" else READ_EVERY
        self._waiting: list[tuple[int, dict[str, Tensor]]] = []
        self._read_at = resumed_at or 0
        self._file = path.open("w" if resumed_at is None else "a")

    def __enter__(self) -> StepLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, step: int, terms: dict[str, Tensor], at_once: bool = False) -> dict[str, float]:
        """Take in the terms (float64 scalars) of the group that ended at ``step``; returns them as numbers where they
        were read now, else nothing."""
        self._waiting.append((step, terms))
        return self.read() if at_once or step - self._read_at >= self._every else {}

    def read(self) -> dict[str, float]:
        """Write all that waits; returns the terms of the last group, or nothing where none waited."""
        if not self._waiting:
            return {}
        values = torch.stack([value for _, terms in self._waiting for value in terms.values()])
        numbers = iter(values.cpu().tolist())
        last: dict[str, float] = {}
        for step, terms in self._waiting:
            last = {name: next(numbers) for name in terms}
            record = {"step": step, **{name: round(value, 6) for name, value in last.items()}}
            self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        self._read_at = self._waiting[-1][0]
        self._waiting.clear()
        return last


def _trim(path: Path, step: int) -> None:
    """Drop what a crash left of the log after the saved state: those steps are done, and logged, again."""
    kept = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except json.JSONDecodeError:  # the crash cut this line short
            break
    path.write_text("".join(kept))
