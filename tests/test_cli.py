"""The command line: every command's help, and errors as one line with exit code 1."""

import dataclasses
import subprocess
import sys

import pytest
import torch

from uner3d.cli import _resume_command, main
from uner3d.config import PRESETS
from uner3d.data.synthetic import ManyOptions, SynthOptions
from uner3d.options import FitOptions
from uner3d.synth_arguments import SynthArguments


def flags(options: type) -> list[str]:
    return ["--" + field.name.replace("_", "-") for field in dataclasses.fields(options)]


HELP = {
    "reconstruct": [*flags(FitOptions), "-o", "--points", "--spacing", *PRESETS],
    "train": [*flags(FitOptions), "-o", *PRESETS],
    "cloud": ["-o", "--points", "--spacing", "--device"],
    "render": ["-o", "--views", "--device"],
    "eval": ["--gt", "--protocol", "--json", "--device", "chamfer", "images"],
    "synth": [*flags(SynthOptions), *flags(ManyOptions)],
    "bench": ["--threads", "--json"],
    "info": ["Versions"],
}


@pytest.fixture(autouse=True)
def denormals_as_before():
    """The command line flushes denormals in its process, which here is that of the other tests too."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def scene(tmp_path):
    """A folder that is there but is no scene: what is tested is refused before it is read."""
    folder = tmp_path / "photos"
    folder.mkdir()
    return str(folder)


@pytest.fixture
def refused(capsys):
    """Runs a command that must fail; returns the one line that it prints to stderr."""

    def run(*arguments) -> str:
        assert main([str(a) for a in arguments]) == 1
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("uner3d: error: "), lines
        return lines[0]

    return run


@pytest.mark.parametrize("command", HELP)
def test_help_lists_every_option(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert [flag for flag in HELP[command] if flag not in text] == []


def test_help_lists_every_command(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0 and [command for command in HELP if command not in text] == []


@pytest.mark.parametrize("arguments", [["--help"], ["cloud", "no/such/run", "-o", "x.ply"]], ids=["help", "error"])
def test_python_dash_m_is_the_same_command(arguments, tmp_path, capsys):
    done = subprocess.run([sys.executable, "-m", "uner3d", *arguments], capture_output=True, text=True, cwd=tmp_path)
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    here = capsys.readouterr()
    assert done.returncode == code and done.stderr == here.err
    assert done.stdout.split()[:3] == here.out.split()[:3]


def test_an_unknown_option_is_refused(scene, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", scene, "-o", str(tmp_path / "run"), "--stepz", "3"])
    assert stop.value.code == 2 and "--stepz" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--points", "0"], ["--points", "got 0", "expected 1 to"]),
        (["--points", "-5"], ["--points", "-5"]),
        (["--points", "3000000000"], ["--points", "3000000000", "2,147,483,647"]),
        (["--spacing", "0"], ["--spacing", "positive"]),
        (["--spacing", "nan"], ["--spacing", "nan"]),
        (["--spacing", "inf"], ["--spacing", "inf"]),
        (["--points", "10", "--spacing", "0.1"], ["--points", "--spacing", "both"]),
        (["--minutes", "0"], ["--minutes", "positive", "0"]),
        (["--minutes", "inf"], ["--minutes", "inf"]),
        (["--steps", "1"], ["--steps", "at least 2", "1"]),
        (["--threads", "0"], ["--threads", "at least 1", "0"]),
        (["--device", "cuda:999"], ["--device cuda:999"]),
        (["--device", "cuda:x"], ["--device", "'cuda:x'", "cuda:N"]),
        (["--device", "tpu"], ["--device", "'tpu'", "cuda:N"]),
        (["--downscale", "0.5"], ["downscale", "0.5", ">= 1"]),
        (["--holdout", "-1"], ["holdout", "-1"]),
        (["--box", "0", "0", "0", "1", "-1", "1"], ["box"]),
        (["--settings", "refine=0", "blur=1"], ["--settings blur=1", "geometric_loss"]),
        (["--settings", "refine=a"], ["--settings refine=a", "'a'", "int"]),
        (["--settings", "minutes=3"], ["--settings minutes", "--minutes"]),
        (["--resume"], ["--resume", "state.safetensors", "nothing to resume"]),
    ],
)
def test_wrong_values_are_named(arguments, named, scene, tmp_path, refused):
    line = refused("reconstruct", scene, "-o", tmp_path / "out", "--quiet", *arguments)
    assert [word for word in named if word not in line] == []


def test_a_missing_scene(tmp_path, refused):
    missing = tmp_path / "nowhere"
    for command in ("reconstruct", "train"):
        line = refused(command, missing, "-o", tmp_path / command, "--quiet")
        assert str(missing) in line and "no such" in line


def test_a_folder_without_a_scene_says_what_was_looked_for(scene, tmp_path, refused):
    line = refused("train", scene, "-o", tmp_path / "run", "--quiet")
    assert scene in line and "transforms" in line and "empty folder" in line


def test_an_output_that_cannot_be_written(scene, tmp_path, refused):
    in_the_way = tmp_path / "file"
    in_the_way.write_text("mine")
    for command in ("reconstruct", "train"):
        assert str(in_the_way) in refused(command, scene, "-o", in_the_way, "--quiet")
    assert str(in_the_way) in refused("cloud", tmp_path / "run", "-o", in_the_way / "cloud.ply")
    assert in_the_way.read_text() == "mine"


@pytest.mark.parametrize("command", ["reconstruct", "train"])
def test_a_run_is_not_replaced_unasked(command, scene, tmp_path, refused):
    run = tmp_path / "out" / "run" if command == "reconstruct" else tmp_path / "out"
    run.mkdir(parents=True)
    (run / "state.safetensors").write_bytes(b"work of a night")
    line = refused(command, scene, "-o", tmp_path / "out", "--quiet")
    assert str(run) in line and "--resume" in line and "--overwrite" in line
    assert (run / "state.safetensors").read_bytes() == b"work of a night"


def test_commands_on_a_missing_run(tmp_path, refused):
    run = tmp_path / "no-run"
    for arguments in (["cloud", run, "-o", tmp_path / "a.ply"], ["eval", run], ["render", run, "-o", tmp_path / "b"]):
        line = refused(*arguments)
        assert str(run) in line and "not found" in line


def test_cloud_checks_density_and_name_first(tmp_path, refused):
    run = tmp_path / "no-run"
    assert "--points" in refused("cloud", run, "-o", tmp_path / "a.ply", "--points", "0")
    assert "both" in refused("cloud", run, "-o", tmp_path / "a.ply", "--points", "9", "--spacing", "1")
    assert "a.xyz" in refused("cloud", run, "-o", tmp_path / "a.xyz")
    (tmp_path / "b.ply").mkdir()
    assert "b.ply" in refused("cloud", run, "-o", tmp_path / "b.ply")


def test_eval_of_a_file_that_is_no_cloud(tmp_path, refused):
    target = tmp_path / "cloud.ply"
    target.write_text("nothing")
    assert str(target) in refused("eval", target, "--gt", target)
    assert str(target) in refused("eval", target, "--protocol", "images")


def test_synth_refuses_what_it_cannot_draw(tmp_path, refused):
    assert "'teapot'" in refused("synth", "--output", tmp_path / "s", "--shape", "teapot")
    assert "n_train = 1" in refused("synth", "--output", tmp_path / "s", "--n-train", "1")


def test_the_command_that_resumes():
    arguments = ["reconstruct", "my photos", "-o", "out", "--overwrite"]
    assert _resume_command(arguments) == "uner3d reconstruct 'my photos' -o out --resume"
    assert _resume_command([*arguments, "--resume"]).count("--resume") == 1


def test_synth_takes_the_shape_by_its_place_too(tmp_path, refused):
    assert "'teapot'" in refused("synth", "teapot", "-o", tmp_path / "s")
    assert "once, got mug and bowl" in refused("synth", "mug", "-o", tmp_path / "s", "--shape", "bowl")
    options = SynthArguments(tmp_path, mesh="mug").options()
    assert options == SynthOptions(tmp_path, "mug") and type(options) is SynthOptions


def test_a_cloud_that_cannot_be_written_is_refused_before_it_is_made(tmp_path, refused, monkeypatch):
    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("uner3d.options.tempfile.TemporaryFile", full)
    line = refused("cloud", tmp_path / "no-run", "-o", tmp_path / "a.ply")
    assert "a.ply" in line and "No space left" in line
    assert "not found" in refused("cloud", tmp_path / "no-run")
    assert not (tmp_path / "no-run").exists()
