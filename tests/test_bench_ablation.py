"""Each idea off in turn: which runs are made, what is kept, and the change that is shown; the parts of a pipeline."""

import argparse
import json
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # at the end: the package under test is the installed one

from benchmarks import bench_ablation as bench  # noqa: E402
from benchmarks import bench_parts  # noqa: E402
from uner3d.config import Config, setting_from_text  # noqa: E402


@pytest.fixture
def runs(monkeypatch) -> list[str]:
    """What would have been fitted and fused; nothing is. The first matching is worth 10 %."""
    done: list[str] = []

    def one_run(scene, name, preset, seed, args):
        done.append(name)
        return {"run": name, "scene": scene.name, "seed": seed, "cd": 1.1 if "prior_loss=0" in args.settings else 1.0}

    monkeypatch.setattr(bench, "one_run", one_run)
    monkeypatch.setattr(bench, "fused_again", lambda scene, run, idea: done.append(f"{run.name} {idea}") or {"cd": 2.0})
    return done


def call(monkeypatch, out: Path, *options: str) -> list[dict]:
    monkeypatch.setattr(sys, "argv", ["bench", "scenes/a", "--out", str(out), "--seeds", "0", "1", *options])
    bench.main()
    return json.loads((out / "ablation.json").read_text())["rows"]


def test_ideas_are_left_out_in_turn_and_kept(runs, monkeypatch, tmp_path):
    ideas = ["--only", "first matching", "weights of the package", "colours as a witness"]
    rows = call(monkeypatch, tmp_path, *ideas)
    assert [row["without"] for row in rows] == [bench.ALL, bench.ALL, *ideas[1:]]
    assert [row["change"] for row in rows] == pytest.approx([0, 0, 0.1, 0, 1])
    assert runs[2].endswith("-prior_loss=0") and runs[3].endswith("-weights=none")
    assert runs[4] == f"{runs[0]} colours as a witness"  # from the maps of the run that has all
    assert "+10.0%" in (tmp_path / "ablation.md").read_text()
    call(monkeypatch, tmp_path, *ideas, "--resume")
    assert len(runs) == 5
    assert len(call(monkeypatch, tmp_path, *ideas, "--minutes", "1", "--resume")) == 5 and len(runs) == 10


def test_settings_that_are_left_out_exist():
    for settings in bench.FIT.values():
        for text in settings:
            if text != "weights=none":
                name, value = setting_from_text(text)
                assert value != getattr(Config(), name)


def test_rules_that_are_left_out_exist():
    for rule in bench.EXTRACTION.values():
        with rule():
            pass


def test_a_row_belongs_to_its_budget_and_masks():
    keys = {bench.key(Path("a"), "all", 0, argparse.Namespace(minutes=minutes, masks=masks, downscale=2.0, weights=None,
                                                              settings=[]))
            for minutes in (1.0, 2.0) for masks in ("off", "auto")}  # fmt: skip
    assert len(keys) == 4


def test_spread_of_even_points_is_nothing_and_of_random_ones_is_not():
    even = torch.cartesian_prod(*[torch.arange(8.0)] * 3).numpy()
    assert bench_parts.spread(even + 1e4) == pytest.approx(0, abs=1e-5)
    random = torch.rand(4000, 3, generator=torch.Generator().manual_seed(0)).numpy()
    assert 0.25 < bench_parts.spread(random) < 0.5
