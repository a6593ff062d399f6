"""The benchmarks, untimed: peers agree with ours, tables and plots come out of a record, `uner3d bench` runs small."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # at the end: the package under test is the installed one

from benchmarks import bench_knn, tables  # noqa: E402
from benchmarks import bench_positional_encoding as encoding  # noqa: E402
from benchmarks._clouds import CLOUDS, cloud, morton_sorted, queries_near  # noqa: E402
from benchmarks.peers.brute import torch_exact  # noqa: E402
from benchmarks.peers.compiled import with_compiled  # noqa: E402
from benchmarks.peers.knn import PEERS, available  # noqa: E402
from benchmarks.peers.memory import measure_apart  # noqa: E402
from uner3d import bench  # noqa: E402
from uner3d.bench import cases  # noqa: E402
from uner3d.bench.timing import time_interleaved  # noqa: E402
from uner3d.cli import main  # noqa: E402

ENVIRONMENT = {"device": "abacus", "cpus": 2, "threads": 2, "isa": "beads", "torch": "2", "commit": "abc", "date": "-"}


def seconds(**medians: float) -> dict[str, dict[str, float]]:
    return {name: {"median": m, "spread": m / 10, "min": m, "repeats": 5} for name, m in medians.items()}


def knn_figure(kind: str, n: int) -> dict:
    us = {"uner3d as called": 0.2, "uner3d sorted": 0.15, "scipy as called": 3.0, "scipy sorted": 1.0}
    libraries = {
        "uner3d": {"exact": True, "error": 1e-7, "build_s": 0.1, "build_mb": 30.0},
        "scipy": {"exact": False, "error": 0.02, "build_s": 0.5, "build_mb": 70.0},
    }
    return {"cloud": kind, "points": n, "k": 8, "us_per_query": us, "spread_us": us, "libraries": libraries}


@pytest.fixture
def results(tmp_path) -> Path:
    """A folder with made-up records of each kind."""
    timed = seconds(uner3d=0.001, eager=0.008, copy=0.0005)
    timed["eager compiled"] = seconds(x=0.004)["x"]
    figure = {"seconds": timed, "speedup": 4.0, "against": "eager compiled", "times_floor": {"in place": 1.55}}
    large = {"cloud": "surface", "points": 20_000_000, "build_s": 2.5, "build_mb": 612.4, "held_mb": 361.2}
    records = {
        "composite": {"environment": ENVIRONMENT, "figures": {"dense forward_backward": figure}},
        "fuse_views": {"environment": ENVIRONMENT, "figures": {"8x10x4": {"forward": figure, "backward": figure}}},
        "knn": {**ENVIRONMENT, "figures": [knn_figure(kind, n) for n in (10, 100) for kind in CLOUDS],
                "large": large, "not_available": {"napf": "not installed"}},
        "idw": {**ENVIRONMENT, "figures": [{"points": 10, "us_per_query": {
            "uner3d forward": 0.5, "torch forward": 50.0}}]},
        "thin": {"environment": ENVIRONMENT, "figures": {"voxel": {"seconds": 0.1}}},
    }  # fmt: skip
    for name, record in records.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    return tmp_path


def test_tables_of_a_folder(results):
    files = tables.write(results)
    assert {path.name for path in files} == {"tables.md", "speedups.png", "knn.png"}
    assert all(0 < path.stat().st_size < 100_000 for path in files)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in files if path.suffix == ".png")
    text = (results / "tables.md").read_text(encoding="utf-8")
    for expected in (
        "abacus, 2 CPUs",
        "| `composite` |  | dense forward + backward | 1.0 | 0.050 | 8.0 | eager | 4.0 | 1.55 (in place) |",
        "| `fuse_views` | 8x10x4 | backward |",
        "| scipy sorted | 1.00 (5.0) | 1.00 (5.0) | 1.00 (5.0) | 0.50 | 70 | no (2e-02) |",
        "| uner3d as called | 0.200 (1.0) |",
        "20,000,000 points on a surface: indexed in 2.5 s with at most 612 MB beside them, of which 361 MB stay.",
        "napf: not installed",
        "| 10 | torch forward | 50.0 | 100 |",
        "![Times faster than the best eager PyTorch](speedups.png)",
    ):
        assert expected in text
    assert "`thin`" not in text


def test_every_row_has_as_many_cells_as_its_header(results):
    tables.write(results)
    width = None
    for line in (results / "tables.md").read_text(encoding="utf-8").splitlines():
        width = None if not line.startswith("|") else width or line.count("|")
        assert width is None or line.count("|") == width


def test_tables_go_between_the_marks_and_only_there(results):
    readme = results / "docs" / "README.md"
    readme.parent.mkdir()
    readme.write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n")
    for _ in range(2):
        tables.write(results, readme)
        text = readme.read_text(encoding="utf-8")
        assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
        assert "](../knn.png)" in text and text.count(tables.BEGIN) == text.count("## ") + 1 == 1
    with pytest.raises(ValueError, match="tables: begin"):
        tables.splice("no marks", "x")


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        tables.write(tmp_path)


def test_the_readme_of_the_benchmarks_has_the_marks():
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert tables.splice(text, "x").count("\nx\n") == 1


@pytest.mark.parametrize(("value", "text"), [(None, ""), (0, "0"), (0.0123, "0.012"), (9.96, "10.0"), (1234, "1,200")])
def test_numbers_are_short(value, text):
    assert tables.short(value) == text


@pytest.mark.parametrize("kind", CLOUDS)
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_finds_what_ours_finds(name, kind, capsys):
    found, missing = available([name])
    if missing:
        assert name in capsys.readouterr().out
        pytest.skip(f"{name}: {missing[name]}")
    points = cloud(kind, 700)
    queries = queries_near(points, 0.05)[:60]
    truth, index = torch_exact(points.double(), queries.double(), 8)
    result = found[0].make(points.numpy(), 8, 2)(queries.numpy())
    assert found[0].version()
    assert found[0].index(result).tolist() == index.tolist()
    error = bench_knn.error_of(torch.from_numpy(found[0].dist2(result)), truth)
    assert error <= bench_knn.EXACT or (name == "torch cdist" and np.isfinite(error))


def test_a_peer_that_is_absent_is_said_and_left_out(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "scipy", None)
    found, missing = available(["scipy", "torch"])
    assert [peer.name for peer in found] == ["torch"] and set(missing) == {"scipy"}
    assert capsys.readouterr().out.count("\n") == 1


def test_queries_in_order_are_the_same_queries():
    queries = cloud("uneven", 500)
    ordered = morton_sorted(queries)
    assert sorted(queries.tolist()) == sorted(ordered.tolist())
    step = lambda q: float(q.diff(dim=0).norm(dim=1).mean())  # noqa: E731
    assert step(ordered) < step(queries) / 2


def test_wrong_distances_of_ours_are_refused():
    with pytest.raises(AssertionError, match="surface"):
        bench_knn.check_ours(float("nan"), "surface")
    bench_knn.check_ours(1e-7, "surface")


def test_memory_is_that_of_the_search_structure():
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("peaks are read from /proc")
    found = measure_apart("uner3d", "uniform", 500_000, 1000, 8, 2)
    assert 9 * 0.9 <= found["held_mb"] <= found["build_mb"] + 1 < 60  # 18 bytes a point, scratch beside it
    assert found["query_mb"] >= found["held_mb"] - 1 and found["result_mb"] == pytest.approx(0.096)


@pytest.mark.parametrize("run", [encoding.forward, encoding.forward_backward])
def test_peers_of_the_encoding_agree(run):
    x, grad = torch.rand(300, 3) * 2 - 1, torch.rand(300, 63)
    peers = {name[6:]: getattr(encoding, name) for name in dir(encoding) if name.startswith("eager_")}
    assert len(peers) == 4
    encoding.check(run, peers, x, 10, grad)


def test_what_does_not_compile_is_said_and_left_out(capsys):
    def fails(f):
        raise RuntimeError("no compiler")

    peers = {"eager": torch.sin}
    assert with_compiled(peers, True, fails) == peers
    assert "eager compiled: not available, RuntimeError: ['no compiler']" in capsys.readouterr().out
    assert with_compiled(peers, False, fails) == peers


def test_rounds_take_turns():
    calls: list[str] = []
    functions = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = time_interleaved(functions, repeats=5, min_seconds=0)
    assert "".join(calls) == "aabb" + "abbaabbaab"
    assert set(times) == {"a", "b"} and all(t["repeats"] == 5 for t in times.values())
    with pytest.raises(ValueError, match="repeats"):
        time_interleaved(functions, repeats=4)


def test_cases_of_uner3d_bench_agree():
    """At a hundredth of the size; untimed."""
    found = list(cases.all_cases(0.01))
    for case in found:
        cases.check(case)
    assert {case.op for case in found} == {
        "positional_encoding", "knn", "idw", "fuse_views", "view_weights", "composite"
    }  # fmt: skip
    wrong = found[0]._replace(theirs=lambda: found[0].ours() + 1)
    with pytest.raises(RuntimeError, match=f"{wrong.op}, {wrong.run}: differs"):
        cases.check(wrong)


def one_case(scale: float):
    return [cases.Case("knn", "forward", "1 point", "an abacus", torch.rand, torch.rand, 2.0)._replace(
        ours=lambda: torch.ones(1), theirs=lambda: torch.ones(1))]  # fmt: skip


def test_the_command(monkeypatch, capsys):
    monkeypatch.setattr(bench, "all_cases", one_case)
    assert main(["bench", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["threads"] == torch.get_num_threads() and len(result["figures"]) == 1
    assert set(result["figures"][0]) == {"op", "pass", "size", "peer", "ms", "peer_ms", "spread", "speedup"}
    assert main(["bench"]) == 0
    assert "an abacus" in capsys.readouterr().out
    torch.set_flush_denormal(False)


def test_the_command_refuses_no_threads(capsys):
    assert main(["bench", "--threads", "0"]) == 1
    assert "--threads: expected at least 1, got 0" in capsys.readouterr().err
    with pytest.raises(ValueError, match="scale"):
        bench.run(scale=0)
