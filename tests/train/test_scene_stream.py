"""Scenes in turn: each once a round, the same at the same turn, no more of them in memory than fit."""

from pathlib import Path

import pytest
import torch
from toy import ball_photos

from uner3d.train.scene_stream import SceneStream, TrainingScene, find_scenes


def scene_of(folder: Path) -> TrainingScene:
    photos = ball_photos(2, 16, 12)
    photos.names = [folder.name] * 2
    return TrainingScene(photos, torch.ones(3), torch.ones(3))


def name_at(stream: SceneStream, turn: int) -> str:
    return stream.at(turn).photos.names[0]


def test_every_scene_comes_once_a_round():
    stream = SceneStream([Path(f"{k}") for k in range(7)], scene_of, seed=3)
    for begin in (0, 7, 14):
        assert sorted(name_at(stream, begin + k) for k in range(7)) == [f"{k}" for k in range(7)]
    orders = [[name_at(stream, begin + k) for k in range(7)] for begin in (0, 7)]
    assert orders[0] != orders[1]


def test_a_turn_has_the_same_scene_whatever_was_asked_before():
    folders = [Path(f"{k}") for k in range(5)]
    first, second = SceneStream(folders, scene_of, 1), SceneStream(folders, scene_of, 1)
    in_order = [name_at(first, turn) for turn in range(12)]
    assert [name_at(second, turn) for turn in (11, 3, 7)] == [in_order[turn] for turn in (11, 3, 7)]


def test_memory_is_bounded_whatever_the_number_of_scenes():
    size = scene_of(Path("0")).n_bytes
    loaded: list[str] = []

    def load(folder: Path) -> TrainingScene:
        loaded.append(folder.name)
        return scene_of(folder)

    stream = SceneStream([Path(f"{k}") for k in range(20)], load, 0, most_bytes=3 * size)
    for turn in range(40):
        stream.at(turn)
        assert len(stream._kept) <= 3
    assert len(loaded) > 20  # what was dropped is read again
    roomy = SceneStream([Path(f"{k}") for k in range(4)], load, 0)
    loaded.clear()
    for turn in range(20):
        roomy.at(turn)
    assert sorted(loaded) == ["0", "1", "2", "3"]


def test_a_scene_larger_than_the_room_is_used_all_the_same():
    stream = SceneStream([Path("0"), Path("1")], scene_of, 0, most_bytes=1)
    assert {name_at(stream, turn) for turn in range(2)} == {"0", "1"}


def test_scenes_are_found_in_folders_and_as_folders(tmp_path):
    for name in ("many/b", "many/a", "many/notes", "one"):
        (tmp_path / name).mkdir(parents=True)
        if "notes" not in name:
            (tmp_path / name / "scene").touch()

    def is_scene(folder: Path) -> bool:
        return (folder / "scene").exists()

    found = find_scenes([tmp_path / "many", tmp_path / "one"], is_scene)
    assert [str(path.relative_to(tmp_path)) for path in found] == ["many/a", "many/b", "one"]
    with pytest.raises(ValueError, match=r"notes: expected a scene, or a folder of scenes"):
        find_scenes([tmp_path / "many" / "notes"], is_scene)
    with pytest.raises(ValueError, match=r"nowhere: no such folder"):
        find_scenes([tmp_path / "nowhere"], is_scene)


def test_no_scene_is_refused():
    with pytest.raises(ValueError, match="expected at least one folder"):
        SceneStream([], scene_of, 0)
