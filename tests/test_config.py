"""config.json of a run: read as it was written, and what is wrong in it is named."""

import pytest

from uner3d.config import preset_config, setting_from_text
from uner3d.train.checkpoint import load_run_config, write_json


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", r"expected an object of settings, found \[1, 2\]"),
        ("null", "expected an object of settings, found None"),
        ('{"rays": "many"}', "rays is 'many', expected int$"),
        ('{"rays": 8.5}', "rays is 8.5, expected int$"),
        ('{"rays": null}', "rays is None, expected int$"),
        ('{"seed": true}', "seed is True, expected int$"),
        ('{"minutes": "5"}', "minutes is '5', expected float$"),
        ('{"minutes": false}', "minutes is False, expected float$"),
        ('{"replay_steps": 1}', "replay_steps is 1, expected bool$"),
        ('{"masks": ["auto"]}', r"masks is \['auto'\], expected str$"),
        ('{"steps": 40}', r"steps is 40, expected list\[int\] \| None$"),
        ('{"steps": [40, 0.5]}', r"steps is \[40, 0.5\], expected list\[int\] \| None$"),
        ('{"box": [[0, 0, 0], "1"]}', r"box is \[\[0, 0, 0\], '1'\], expected list\[list\[float\]\]"),
        ('{"rays": 3', "not readable as JSON"),
        (b"\xff\xfe{", "not readable as text"),
    ],
)
def test_settings_of_a_wrong_type_are_named(tmp_path, text, message):
    (tmp_path / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message) as caught:
        load_run_config(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "config.json: "))


@pytest.mark.parametrize("box", [None, [0, 0, 0, 1, 1, 1.5], [[0, 0, 0], [1, 1, 1.5]]])
def test_settings_are_read_as_they_were_written(tmp_path, box):
    written = preset_config("paper", minutes=3, steps=[4, 6], knots=[[2, 0.25]], encoder_weights="here.pth", box=box)
    write_json(tmp_path / "config.json", written.to_json())
    assert load_run_config(tmp_path) == written


@pytest.mark.parametrize(("preset", "settings", "weights"), [
    ("base", {}, "default"), ("quick", {}, "default"), ("high", {}, "default"), ("paper", {}, None),
    ("base", {"encoder": "resnet34"}, None), ("base", {"octaves": 4}, None), ("base", {"weights": "none"}, None),
    ("base", {"weights": None}, "default"), ("base", {"weights": "mine"}, "mine"),
    ("paper", {"weights": "mine"}, "mine"),
])  # fmt: skip
def test_fits_start_from_the_weights_of_the_package_where_they_fit(preset, settings, weights):
    assert preset_config(preset, **settings).weights == weights


@pytest.mark.parametrize(("text", "setting"), [
    ("refine=0", ("refine", 0)), ("prior_loss=0", ("prior_loss", 0)), ("idw_loss=0.5", ("idw_loss", 0.5)),
    ("outside=off", ("outside", "off")), ("box=[0, 0, 0, 1, 1, 2]", ("box", [0, 0, 0, 1, 1, 2])),
    ("replay_steps=false", ("replay_steps", False)), ("encoder_weights=a=b.pth", ("encoder_weights", "a=b.pth")),
    ("refine", None), ("refine=", None), ("refine=much", None), ("refine=0.5", None), ("blur=1", None), ("=1", None),
    ("idw_loss=.5", None), ("idw_loss=NaN", None), ("idw_loss=Infinity", None),
    ("idw_loss=1e999", None), ("refine=3.0", ("refine", 3)),
])  # fmt: skip
def test_settings_written_as_text(text, setting):
    if setting is not None:
        name, value = setting_from_text(text)
        assert (name, value) == setting and type(value) is type(setting[1])
        return
    with pytest.raises(ValueError, match="^" + text) as caught:
        setting_from_text(text)
    assert "expected" in str(caught.value)


def test_whole_numbers_written_with_a_point_count(tmp_path):
    (tmp_path / "config.json").write_text('{"rays": 8.0, "minutes": 3}')
    assert type(load_run_config(tmp_path).rays) is int
