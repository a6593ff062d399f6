"""`uner3d info`: what is installed, and what is missing in a sentence."""

import importlib.metadata
import json
import shutil
import subprocess
import sys
import types

import numpy
import pytest
import torch

from uner3d import __version__, info, ops, optional


@pytest.fixture
def no_optional_packages(monkeypatch):
    """Importing Open3D and its like takes seconds; here they are absent."""
    monkeypatch.setattr(info, "find_spec", lambda name: None)


def git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository laid out as this one, with the package taken from it."""
    source = tmp_path / "repo" / "uner3d"
    source.mkdir(parents=True)
    (source / "__init__.py").write_text("")
    git(source.parent, "init", "-q")
    git(source.parent, "add", "-A")
    git(source.parent, "commit", "-qm", "first")
    monkeypatch.setattr(info, "_PACKAGE", source)
    return source


def test_info_tells_what_is_true_here(no_optional_packages):
    found = info.info()
    assert found["version"] == __version__ and found["torch"] == torch.__version__
    assert found["numpy"] == numpy.__version__ and sys.version.startswith(found["python"])
    assert found["isas"] == ops.available_isas() and found["isa"] == ops.get_isa()
    assert found["threads"] == torch.get_num_threads()
    assert found["cuda_built"] or "CUDA" in found["cuda_problem"]
    assert found["device"] == "cpu" if found["cuda_problem"] else found["device"].startswith("cuda:")
    json.dumps(found)


def test_text_names_every_missing_package_and_its_extra(no_optional_packages):
    lines = dict(line.split("  ", 1) for line in info.info_text().splitlines())
    assert set(optional.EXTRAS) <= {name.strip() for name in lines}
    text = info.info_text()
    assert "not installed: pip install 'uner3d[open3d]'" in text and "pip install 'uner3d[view]'" in text
    assert f"{ops.get_isa()} (in use)" in text


def test_a_missing_system_library_is_named(monkeypatch):
    def fail(name):
        raise OSError("libusb-1.0.so.0: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(info, "find_spec", lambda name: object())
    monkeypatch.setattr(optional.importlib, "import_module", fail)
    sentence = info.optional_packages()["open3d"]
    assert "libusb-1.0.so.0 is missing" in sentence and "apt-get install libusb-1.0-0" in sentence


def test_installed_packages_show_their_version(monkeypatch):
    monkeypatch.setattr(info, "EXTRAS", {"numpy": "none", "home_made": "none"})
    monkeypatch.setattr(info, "find_spec", lambda name: object())
    modules = {"numpy": numpy, "home_made": types.SimpleNamespace(__version__="7")}
    monkeypatch.setattr(info, "require", modules.__getitem__)
    assert info.optional_packages() == {"numpy": importlib.metadata.version("numpy"), "home_made": "7"}


def test_commit_of_a_checkout_and_dirty(checkout):
    head = subprocess.run(["git", "-C", checkout, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    assert info.git_commit() == head[:12]
    (checkout / "untracked.txt").write_text("x")
    assert info.git_commit() == head[:12]
    (checkout / "__init__.py").write_text("changed")
    assert info.git_commit() == head[:12] + "-dirty"


def test_commit_ignores_the_environment_of_a_hook(checkout, monkeypatch, tmp_path):
    before = info.git_commit()
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert before is not None and info.git_commit() == before


def test_commit_of_a_package_in_a_virtual_environment_of_its_checkout(checkout, monkeypatch):
    installed = checkout.parent / ".venv" / "lib" / "uner3d"
    shutil.copytree(checkout, installed)
    monkeypatch.setattr(info, "_PACKAGE", installed)
    assert info.git_commit() and not info.git_commit().endswith("-dirty")
    (installed / "__init__.py").write_text("older")
    assert info.git_commit().endswith("-dirty")


def test_no_commit_outside_of_a_checkout_or_in_another_projects(checkout, monkeypatch, tmp_path):
    monkeypatch.setattr(info, "_commit_noted_by_pip", lambda: None)
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setattr(info, "_PACKAGE", other)
    assert info.git_commit() is None
    git(other, "init", "-q")
    assert info.git_commit() is None


def test_commit_that_pip_noted(monkeypatch):
    noted = json.dumps({"url": "https://example.org", "vcs_info": {"vcs": "git", "commit_id": "0123456789abcdef"}})
    from_folder = json.dumps({"url": "file:///x", "dir_info": {}})
    for text, expected in ((noted, "0123456789ab"), (from_folder, None), (None, None)):
        distribution = types.SimpleNamespace(read_text=lambda name, text=text: text)
        monkeypatch.setattr(info.importlib.metadata, "distribution", lambda name, d=distribution: d)
        assert info._commit_noted_by_pip() == expected
