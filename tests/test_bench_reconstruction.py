"""The harness around `uner3d reconstruct`: what it runs again, what it keeps, and its table."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # at the end: the package under test is the installed one

from benchmarks import bench_reconstruction as bench  # noqa: E402

ROW = {"points": 12345, "steps": 700, "psnr": 30.0, "seconds": 60.5, "memory_mb": 900.0, "acc": 0.5, "comp": 0.25,
       "cd": 0.375, "f1": 0.9, "f2": 0.95, "out_all": 0.0, "col": 28.123, "cloud_psnr": 27.0}  # fmt: skip


@pytest.fixture
def runs(monkeypatch) -> list[str]:
    """The names of the output folders that would have been reconstructed; nothing is."""
    done: list[str] = []
    monkeypatch.setattr(bench, "reconstruct", lambda scene, out, *rest: done.append(out.name))
    monkeypatch.setattr(bench, "measure", lambda scene, out: dict(ROW))
    monkeypatch.setattr(bench, "picture", lambda scene, out: np.zeros((4, 4, 3), np.uint8))
    return done


def call(monkeypatch, out: Path, *options: str) -> list[dict]:
    monkeypatch.setattr(sys, "argv", ["bench", "scenes/a", "scenes/b", "--out", str(out), *options])
    bench.main()
    return json.loads((out / "results.json").read_text())["runs"]


def test_a_table_grows(runs, monkeypatch, tmp_path):
    first = call(monkeypatch, tmp_path, "--minutes", "2")
    assert [row["scene"] for row in first] == ["a", "b"] and len(runs) == 2
    second = call(monkeypatch, tmp_path, "--minutes", "2", "--seed", "0", "1", "--resume")
    assert len(second) == 4 and len(runs) == 4 and runs[2:] == [row["run"] for row in second[2:]]
    call(monkeypatch, tmp_path, "--minutes", "3", "--resume")
    assert len(runs) == 6  # another budget is another run
    call(monkeypatch, tmp_path, "--minutes", "3", "--settings", "refine=0", "prior_loss=0", "--resume")
    assert len(runs) == 8 and all(name.endswith("-refine=0-prior_loss=0") for name in runs[6:])  # and so is a setting
    assert len(call(monkeypatch, tmp_path)) == 2  # without --resume the record starts anew
    assert all((tmp_path / f"{name}.png").is_file() for name in runs)


def test_means_stand_below_the_rows(runs):
    text = bench.table([ROW | {"scene": "a", "cd": 0.5}, ROW | {"scene": "b", "cd": 1.5, "psnr": None}])
    lines = text.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    at = {name: i for i, name in enumerate(bench.COLUMNS)}
    assert len(lines) == 5 and all(len(row) == len(bench.COLUMNS) for row in cells)
    assert cells[2][at["cd"]] == "0.500" and cells[2][at["points"]] == "12,345" and cells[3][at["psnr"]] == ""
    assert cells[4][0] == "**mean**" and cells[4][at["cd"]] == "1" and cells[4][at["psnr"]] == "30"


def test_a_failure_is_told_with_the_command_and_its_words(tmp_path):
    args = bench.argparse.Namespace(minutes=1.0, masks="auto", downscale=1.0, weights=None, settings=[])
    with pytest.raises(RuntimeError, match=r"reconstruct .*nothing.* exit code 1: .*nothing"):
        bench.reconstruct(tmp_path / "nothing", tmp_path / "out", "base", 0, args)
