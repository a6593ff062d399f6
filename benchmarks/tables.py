"""Markdown tables out of the JSON of a results folder; plots by benchmarks/plots.py.

python -m benchmarks.tables [benchmarks/results/2-core-avx512] [--readme benchmarks/README.md]

Writes FOLDER/tables.md, FOLDER/speedups.png and FOLDER/knn.png. With --readme the tables also go between the two marks
of that file, with links to the plots.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import plots

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"
NOT_PEERS = ("copy", "write")  # floors that are timed beside the peers


class Row(NamedTuple):
    """One timed pass of one case of an op."""

    op: str
    case: str
    run: str
    figure: dict[str, Any]

    @property
    def compiled(self) -> float | None:
        """Times faster than the best peer under torch.compile, where one was timed."""
        seconds = self.figure["seconds"]
        peers = [t["median"] for name, t in seconds.items() if name.endswith(" compiled")]
        return min(peers) / seconds["uner3d"]["median"] if peers else None

    @property
    def eager(self) -> tuple[float, str]:
        """Times faster than the best eager peer, and its name. "speedup" is against the best of all, floors aside."""
        seconds = self.figure["seconds"]
        aside = ("uner3d", *NOT_PEERS)
        peers = {n: t["median"] for n, t in seconds.items() if not n.startswith(aside) and not n.endswith(" compiled")}
        if not peers or not self.figure["against"].endswith(" compiled"):
            return self.figure["speedup"], self.figure["against"]
        best = min(peers, key=lambda name: peers[name])
        return peers[best] / seconds["uner3d"]["median"], best


def load(folder: Path) -> dict[str, dict[str, Any]]:
    """The records of a folder by benchmark, in alphabetical order."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def rows(op: str, figures: Any, path: tuple[str, ...] = ()) -> Iterator[Row]:
    """Every figure with a speed-up below ``figures``, however deep its benchmark nests them."""
    if not isinstance(figures, dict):
        return
    if "speedup" in figures and "uner3d" in figures.get("seconds", {}):
        run = path[-1].replace("forward_backward", "forward+backward").replace("_", " ") if path else ""
        yield Row(op, " ".join(path[:-1]), run.replace("d+b", "d + b"), {"against": "", **figures})
        return
    for name, below in figures.items():
        yield from rows(op, below, (*path, name))


def all_rows(records: dict[str, dict[str, Any]]) -> list[Row]:
    """The rows of all ops but the searches, whose records are of another kind."""
    return [row for op, record in records.items() for row in rows(op, record.get("figures"))]


def markdown(header: list[str], lines: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, ["---"] * len(header), *lines])


def short(value: float | None, digits: int = 2) -> str:
    """Two significant digits and no exponent; nothing for nothing."""
    if value is None or not math.isfinite(value):
        return ""
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, places):,.{max(places, 0)}f}"


def op_table(found: list[Row]) -> str:
    """All passes of all ops against torch."""
    header = ["Op", "Case", "Pass", "ms", "± ms", "x eager", "Best eager", "x torch.compile", "Copy floors"]
    lines = []
    for row in found:
        ours = row.figure["seconds"]["uner3d"]
        ratio, best = row.eager
        floors = ", ".join(f"{short(v, 3)} ({name})" for name, v in row.figure.get("times_floor", {}).items())
        lines.append([f"`{row.op}`", row.case, row.run, short(ours["median"] * 1e3), short(ours["spread"] * 5e2),
                      short(ratio), best, short(row.compiled), floors])  # fmt: skip
    return markdown(header, lines)


def knn_table(figures: list[dict[str, Any]], n: int) -> str:
    """Every library and order of queries at one size: microseconds per query of each cloud, and ours against it."""
    here = {figure["cloud"]: figure for figure in figures if figure["points"] == n}
    names = list(dict.fromkeys(name for figure in here.values() for name in figure["us_per_query"]))
    header = ["Library, queries", *[f"{kind}, µs (x uner3d)" for kind in here], "Build s", "Build MB", "Exact"]
    lines = []
    for name in names:
        cells = []
        for figure in here.values():
            us, ours = figure["us_per_query"].get(name), figure["us_per_query"]["uner3d as called"]
            cells.append("" if us is None else f"{short(us, 3)} ({short(us / ours)})")
        library = name.removesuffix(" as called").removesuffix(" sorted")
        of = [figure["libraries"][library] for figure in here.values() if library in figure["libraries"]]
        largest = lambda field, of=of: max((x[field] for x in of if field in x), default=None)  # noqa: E731
        exact = "yes" if all(x["exact"] for x in of) else f"no ({largest('error'):.0e})"
        lines.append([name, *cells, short(largest("build_s")), short(largest("build_mb")), exact])
    return markdown(header, lines)


def knn_section(record: dict[str, Any]) -> list[str]:
    figures = [figure for figure in record["figures"] if "libraries" in figure]
    parts = []
    for n in sorted({figure["points"] for figure in figures}):
        parts += [f"`knn`, k = {figures[0]['k']}, {n:,} points and queries:", knn_table(figures, n)]
    if large := record.get("large"):
        parts.append(f"{large['points']:,} points on a surface: indexed in {short(large['build_s'])} s with at most "
                     f"{large['build_mb']:.0f} MB beside them, of which {large['held_mb']:.0f} MB stay.")  # fmt: skip
    if absent := record.get("not_available"):
        parts.append("Not there: " + "; ".join(f"{name}: {why}" for name, why in absent.items()) + ".")
    return parts


def idw_section(record: dict[str, Any]) -> list[str]:
    lines = []
    for figure in record["figures"]:
        for name, us in figure["us_per_query"].items():
            ours = figure["us_per_query"]["uner3d forward" + (" + backward" if name.endswith("backward") else "")]
            lines.append([f"{figure['points']:,}", name, short(us, 3), short(us / ours)])
    return ["`idw`, microseconds per query:", markdown(["Points", "Library, pass", "µs", "x uner3d"], lines)]


def origin(records: dict[str, dict[str, Any]]) -> str:
    """Which machine and commits the figures come from."""
    of = [record.get("environment", record) for record in records.values()]
    several = lambda field: ", ".join(sorted({str(e[field]) for e in of if field in e}))  # noqa: E731
    gpu = several("gpu") and f"{several('gpu')}; "
    return (f"{gpu}{several('device')}, {several('cpus')} CPUs, {several('threads')} threads, {several('isa')}, torch "
            f"{several('torch')}; commits {several('commit')}; {several('date')}.")  # fmt: skip


def document(records: dict[str, dict[str, Any]], pictures: dict[str, str]) -> str:
    """All tables, each with its picture if there is one. ``pictures``: links by what they show."""
    picture = lambda name, text: [f"![{text}]({pictures[name]})"] if name in pictures else []  # noqa: E731
    parts = [origin(records)]
    if found := all_rows(records):
        parts += [*picture("speedups", "Times faster than the best eager PyTorch"), op_table(found)]
    if "knn" in records:
        parts += [*picture("knn", "Microseconds per query by number of points"), *knn_section(records["knn"])]
    if "idw" in records:
        parts += idw_section(records["idw"])
    return "\n\n".join(parts) + "\n"


def splice(text: str, inside: str) -> str:
    """``text`` with what stands between its marks replaced."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"expected the marks {BEGIN} and {END}, in this order")
    return f"{before}{begin}\n{inside.strip()}\n{end}{after}"


def write(folder: Path, readme: Path | None = None) -> list[Path]:
    """Tables and plots of a folder; returns the files written."""
    records = load(folder)
    if not records:
        raise FileNotFoundError(f"{folder}: expected the JSON of a benchmark, found none")
    drawn = plots.draw(records, all_rows(records), folder)
    target = folder / "tables.md"
    target.write_text(document(records, {path.stem: path.name for path in drawn}), encoding="utf-8")
    if readme is None:
        return [target, *drawn]
    links = {path.stem: os.path.relpath(path, readme.resolve().parent) for path in drawn}
    readme.write_text(splice(readme.read_text(encoding="utf-8"), document(records, links)), encoding="utf-8")
    return [target, *drawn, readme]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=HERE / "results" / "2-core-avx512")
    parser.add_argument("--readme", type=Path, help="a file with the marks, between which the tables go")
    args = parser.parse_args()
    for path in write(args.folder.resolve(), args.readme):
        print(path)


if __name__ == "__main__":
    main()
