"""Progress on the terminal: one bar per stage, with loss, PSNR and the time that remains."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from typing import Any


class Stages:
    """Times the stages of a command and shows a bar for each; ``seconds`` holds what they took."""

    def __init__(self, quiet: bool = False) -> None:
        from rich.console import Console

        self.seconds: dict[str, float] = {}
        self.console = Console(stderr=True, quiet=quiet)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Callable[[float, str], None]]:
        """A bar; call what it yields with the share done and a short text."""
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        begin = time.monotonic()
        columns = (TextColumn("{task.description:<10}"), BarColumn(), TextColumn("{task.percentage:3.0f}%"),
                   TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[text]}"))  # fmt: skip
        try:
            with Progress(*columns, console=self.console, transient=False) as bar:
                task = bar.add_task(name, total=1.0, text="")

                def update(share: float, text: str = "") -> None:
                    bar.update(task, completed=min(share, 1.0), text=text)

                yield update
                bar.update(task, completed=1.0)
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - begin

    @contextlib.contextmanager
    def once_begun(self, name: str) -> Iterator[Callable[[float, str], None]]:
        """The same, but the bar appears with the first call: an error before it leaves its own line alone."""
        with contextlib.ExitStack() as bar:
            updates: list[Callable[[float, str], None]] = []

            def update(share: float, text: str = "") -> None:
                if not updates:
                    updates.append(bar.enter_context(self.stage(name)))
                updates[0](share, text)

            yield update


def training_bar(update: Callable[[float, str], None]) -> Callable[[int, int, dict[str, Any]], None]:
    """A callback for the trainer that shows smoothed loss and PSNR."""
    smooth: dict[str, float] = {}

    def progress(step: int, n_steps: int, terms: dict[str, float]) -> None:
        values = {"loss": sum(v for k, v in terms.items() if k != "mse"), "mse": terms.get("mse", math.nan)}
        for name, value in values.items():
            smooth[name] = 0.95 * smooth.get(name, value) + 0.05 * value
        psnr = -10 * math.log10(max(smooth["mse"], 1e-10))
        update(step / n_steps, f"step {step}/{n_steps}  loss {smooth['loss']:.4f}  PSNR {psnr:.1f} dB")

    return progress
