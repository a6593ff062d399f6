"""The report page: whole without any file beside it, every part optional, nothing unescaped."""

import base64
import io
import json
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from uner3d.cloud.ply import write_ply
from uner3d.cloud.ply_read import read_ply
from uner3d.cloud.types import Cloud
from uner3d.config import Config
from uner3d.report.page import ReportData, report_html, show_value, write_report
from uner3d.report.pictures import as_uint8, depth_picture
from uner3d.report.reconstruction import write_reconstruction_report

RNG = np.random.default_rng(0)


def picture(height=12, width=16):
    return RNG.integers(0, 256, (height, width, 3), np.uint8)


def sample_data() -> ReportData:
    depth = np.linspace(0, 2, 12 * 16).reshape(12, 16)
    return ReportData(
        title="fuze <3> & co", command='uner3d reconstruct "a b" -o <out>', settings={"preset": "base", "seed": 7},
        metrics={"points": 123456, "psnr": 27.123, "ssim": 0.9876, "peak_memory_mb": 2048.0, "spacing": 0.00125},
        warnings=["<b>one</b> photo is missing"], input_images=[picture(), picture()],
        heldout=[("test/0.png", picture(), picture() / 255.0, depth, 27.123, 0.9876),
                 ("test/1.png", picture(), picture(), None, math.inf, 1.0)],
        curves={"PSNR": ([4, 8, 12], [10.0, 12.0, 13.0]), "colour": ([4, 8], [0.2, 0.1]), "mask": ([8], [0.0])},
        turntable=[picture() for _ in range(5)], stages={"load": 3.0, "train": 57.0}, commit="0123456789ab-dirty",
    )  # fmt: skip


def pictures_in(html: str) -> list[Image.Image]:
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in
            re.findall(r'src="data:image/(?:jpeg|png);base64,([^"]+)"', html)]  # fmt: skip


def test_page_is_self_contained(tmp_path):
    write_report(tmp_path / "report.html", sample_data())
    html = (tmp_path / "report.html").read_text()
    addresses = re.findall(r'<[^>]*\b(?:src|href|srcset|poster)\s*=\s*"([^"]*)"', html)
    assert len(addresses) == len(pictures_in(html)) and "url(" not in html and "fetch(" not in html
    assert "http:" not in html and "https:" not in html and "<link" not in html and "@import" not in html
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    for image in pictures_in(html):
        image.load()  # every one decodes


def test_page_shows_what_it_was_given():
    html = report_html(sample_data())
    for text in ("123,456", "27.12 <small>dB", "0.988", "1.0 <small>min", "2.00 <small>GiB", "PSNR ∞ dB", "test/1.png",
                 "commit 0123456789ab-dirty", "<td>seed</td><td>7</td>", "1 warning", "0.00125", "57.0 s"):  # fmt: skip
        assert text in html, text
    # 2 photos, 2 x (photo, rendering), 1 depth map, the curves, the first frame
    assert len(pictures_in(html)) == 2 + 4 + 1 + 1 + 1
    frames = json.loads(re.search(r'<script type="application/json">(.*?)</script>', html).group(1))
    assert len(frames) == 5 and len(set(frames)) == 5 and f'src="{frames[0]}"' in html


def test_text_is_escaped():
    html = report_html(sample_data())
    assert "fuze &lt;3&gt; &amp; co" in html and "&lt;b&gt;one&lt;/b&gt;" in html and "-o &lt;out&gt;" in html
    assert "<b>one</b>" not in html and "<out>" not in html


@pytest.mark.parametrize("part", ["command", "settings", "metrics", "warnings", "input_images", "heldout", "curves",
                                  "turntable", "stages", "commit"])  # fmt: skip
def test_every_part_can_be_missing(part):
    whole, data = sample_data(), sample_data()
    setattr(data, part, getattr(ReportData("x"), part))
    assert len(report_html(data)) < len(report_html(whole))


def test_bare_page():
    html = report_html(ReportData("bare"))
    assert "<section" not in html and "<script" not in html and "bare" in html


def test_wide_pictures_are_reduced():
    html = report_html(ReportData("x", input_images=[picture(300, 1000)], turntable=[picture(300, 1000)]))
    assert sorted(image.size for image in pictures_in(html)) == [(480, 144), (640, 192)]


def test_nothing_is_left_where_the_page_cannot_be_made(tmp_path):
    data = ReportData("x", input_images=[np.zeros((4, 4, 4), np.uint8)])
    with pytest.raises(ValueError, match=r"expected shape \(h, w, 3\) or \(h, w\), got \(4, 4, 4\)"):
        write_report(tmp_path / "report.html", data)
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_report(tmp_path / "nowhere" / "report.html", ReportData("x"))


def test_depth_picture():
    depth = np.array([[0.0, np.nan, 1.0], [2.0, 3.0, -1.0]])
    colours = depth_picture(depth).astype(int)
    assert (colours[[0, 0, 1], [0, 1, 2]] == 255).all()
    brightness = colours.sum(-1)
    assert brightness[0, 2] > brightness[1, 0] > brightness[1, 1]
    assert (depth_picture(np.zeros((2, 2))) == 255).all()
    assert len(np.unique(depth_picture(np.ones((2, 2))).reshape(-1, 3), axis=0)) == 1


def test_as_uint8():
    assert as_uint8(np.array([[0.0, 0.5, 2.0, np.nan]])).tolist() == [[0, 128, 255, 0]]
    with pytest.raises(ValueError, match="got int64"):
        as_uint8(np.zeros((2, 2), np.int64))


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (True, "yes"), (0.0123456, "0.01235"), (123456.7, "123,457"), (12345, "12,345"), (math.inf, "∞"),
     (math.nan, "–"), ([1, 2.5], "1, 2.5"), ([[0.0, 1.0], [2.0, 3.0]], "0, 1 … 2, 3"), ("cnn", "cnn")],
)  # fmt: skip
def test_show_value(value, text):
    assert show_value(value) == text


def sample_run(tmp_path, points: int):
    """What `reconstruct` hands over, small: a sphere seen by 3 cameras, 14 photos and 9 held-out views."""
    torch = pytest.importorskip("torch")
    xyz = RNG.normal(size=(500, 3)).astype(np.float32)
    xyz /= np.linalg.norm(xyz, axis=1, keepdims=True)
    write_ply(tmp_path / "cloud.ply", Cloud(xyz, rgb=np.full((500, 3), (200, 30, 30), np.uint8)))
    pose = np.concatenate([np.eye(3), [[0.0], [0.0], [4.0]]], 1)
    views = [SimpleNamespace(camera=SimpleNamespace(cam_from_world=pose))] * 3
    scene = SimpleNamespace(path=tmp_path / "ball", views=views)
    photos = SimpleNamespace(images=torch.from_numpy(np.stack([picture(20, 30) for _ in range(14)])))
    fitted = SimpleNamespace(photos=photos, config=Config(seed=11))
    depth = np.ones((12, 16), np.float32)
    held = [
        SimpleNamespace(name=f"t{k}", photo=picture(), rendering=picture() / 255.0, depth=depth, psnr=20.0, ssim=0.9)
        for k in range(9)
    ]
    metrics = {"points": points, "psnr": 24.0, "ssim": 0.9, "photo_size": [30, 20], "warnings": ["w"], "commit": "abc"}
    return scene, fitted, SimpleNamespace(metrics=metrics, warnings=["a sentence"], held_out=held)


def test_report_of_a_reconstruction(tmp_path):
    curves = {"PSNR": ([4, 8], [10.0, 11.0])}
    path = write_reconstruction_report(tmp_path, *sample_run(tmp_path, 500), "the command", {"train": 60.0}, curves)
    html = path.read_text()
    assert path == tmp_path / "report.html"
    for text in ("<h1>ball</h1>", "a sentence", "30 x 20", "the command", "<td>seed</td><td>11</td>", "commit abc"):
        assert text in html, text
    assert html.count(': rendering"') == 8 and html.count('"Input photo"') == 12 and 'alt="Training curves"' in html
    frame = next(image for image in pictures_in(html) if image.size == (640, 480))
    red = np.asarray(frame).astype(int)
    assert ((red[..., 0] > 150) & (red[..., 1] < 90)).mean() > 0.05  # the ball is in the picture


def test_no_turntable_of_an_older_runs_cloud(tmp_path):
    html = write_reconstruction_report(tmp_path, *sample_run(tmp_path, 0), "", {}).read_text()
    assert 'turntable"' not in html and "<b>0</b>" in html


def test_reading_a_part_of_a_cloud(tmp_path):
    xyz = np.arange(300, dtype=np.float32).reshape(100, 3)
    write_ply(tmp_path / "c.ply", Cloud(xyz))
    part = read_ply(tmp_path / "c.ply", max_points=10)
    again = read_ply(tmp_path / "c.ply", max_points=10)
    rows = part.xyz[:, 0] / 3
    assert len(part) == 10 and len(set(rows)) == 10 and (np.sort(rows) == rows).all() and (part.xyz == again.xyz).all()
    assert len(read_ply(tmp_path / "c.ply", max_points=100)) == 100
