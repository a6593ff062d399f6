"""The Python of the README runs, and what it says about the command line is so."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

import uner3d
from uner3d import ops

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCK = re.compile(r"(?P<mark><!-- (?P<reason>needs [^>]*) -->\n)?```python\n(?P<code>.*?)```", re.DOTALL)


class Block(NamedTuple):
    code: str
    reason: str | None  # why it cannot run by itself

    @property
    def n_lines(self) -> int:
        return len(self.code.splitlines())


BLOCKS = [Block(found["code"], found["reason"]) for found in BLOCK.finditer(README.read_text(encoding="utf-8"))]


def test_blocks_are_found():
    text = README.read_text(encoding="utf-8")
    assert len(BLOCKS) == text.count("```python") >= 2
    assert any(block.reason is None and "ops.idw" in block.code and block.n_lines <= 20 for block in BLOCKS)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.code.splitlines()[0])
def test_python_runs(block, tmp_path, monkeypatch):
    code = compile(block.code, str(README), "exec")
    if block.reason:
        pytest.skip(block.reason)
    monkeypatch.chdir(tmp_path)
    exec(code, {})


def test_what_the_api_example_names_exists():
    named = {name for block in BLOCKS for name in re.findall(r"\buner3d\.(\w+)\(", block.code)}
    assert named == {"load_scene", "fit", "predict", "generate"}
    assert all(callable(getattr(uner3d, name)) and name in dir(uner3d) for name in named)


def test_every_op_is_in_the_table():
    rows = [line for line in README.read_text(encoding="utf-8").splitlines() if re.match(r"\| `.*\| yes \|", line)]
    listed = set(re.findall(r"`(\w+)`", " ".join(rows)))
    public = {name for name in ops.__all__ if not name.endswith(("_isa", "_isas", "Result"))}
    assert listed == public


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README.read_text(encoding="utf-8"))
    assert links and [link for link in links if not (README.parent / link).exists()] == []


def test_commands_of_the_readme_exist(capsys):
    from uner3d.cli import main

    used = set(re.findall(r"(?:^|`)uner3d (?!import)([a-z]+)\b", README.read_text(encoding="utf-8"), re.MULTILINE))
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = set(re.findall(r"• (\w+)", capsys.readouterr().out))
    assert used and used <= commands
