"""The published protocols: their views, metrics, means and results, on small sets written in the published layouts."""

import json
from dataclasses import replace

import numpy as np
import published
import pytest
from PIL import Image

from uner3d.data import Camera
from uner3d.protocols import metrics, protocol, run_protocol, table
from uner3d.protocols.objects import drawn_view, srn_objects


def ring(n, width, height, focal):
    """Cameras at a distance of 1.3 that look at the origin."""
    cameras = []
    for k in range(n):
        c, s = np.cos(2 * np.pi * k / n), np.sin(2 * np.pi * k / n)
        R = np.array([[-s, c, 0], [0, 0, -1], [-c, -s, 0]])
        K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
        cameras.append(Camera(K, np.column_stack([R, [0, 0, 1.3]]), width, height))
    return cameras


def pictures(cameras, seed):
    """White photos with a square of random colours, each another."""
    draw = np.random.default_rng(seed)
    photos = []
    for camera in cameras:
        photo = np.full((camera.height, camera.width, 3), 255, np.uint8)
        low, high = camera.height // 4, 3 * camera.height // 4
        photo[low:high, low:high] = draw.integers(0, 256, (high - low, high - low, 3))
        photos.append(photo)
    return photos


class Darker:
    """Renders each photo at a share of its brightness, and notes what it was asked."""

    def __init__(self, share):
        self.share, self.scenes, self.sources, self.rendered = share, [], [], []

    def __call__(self, scene, sources):
        self.scenes.append(scene)
        self.sources.append([view.name for view in sources])
        return self

    def render(self, view):
        self.rendered.append(view.name)
        return self.share * view.image().astype(np.float32) / 255


def expected_psnr(photo, share):
    shown = np.floor(np.float32(share) * (photo / np.float32(255)) * np.float32(255)) / 255
    return 10 * np.log10(1 / np.mean((shown - photo / 255) ** 2))


@pytest.fixture(scope="module")
def nmr(tmp_path_factory):
    """Two objects of one category and one of another."""
    root, photos = tmp_path_factory.mktemp("NMR_Dataset"), {}
    cameras = ring(24, 64, 64, 60.0)
    for seed, key in enumerate(("02691156/aa", "02691156/bb", "03001627/cc")):
        photos[key] = pictures(cameras, seed)
        published.write_nmr(root / key, cameras, photos[key], [p[..., 0] for p in photos[key]])
    (root / "02691156/softras_test.lst").write_text("aa\nbb\n")
    (root / "03001627/softras_test.lst").write_text("cc\n")
    (root / "02691156/softras_train.lst").write_text("zz\n")
    (root / "src_dvr.txt").write_text("02691156 aa 20\n02691156 bb 0\n03001627 cc 7\n03001627 dd 7\n")
    return root, photos


def test_views_of_srn():
    one, two = protocol("srn"), protocol("srn", views=2)
    assert one.targets((64,)) == (*range(64), *range(65, 251)) and one.size == (128, 128)
    assert two.targets((64, 104)) == (*range(64), *range(65, 104), *range(105, 251))
    assert one.background == two.background == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("views", "sources", "n_targets"),
    [(1, (25,), 33), (3, (22, 25, 28), 31), (6, (22, 25, 28, 40, 44, 48), 28),
     (9, (0, 8, 13, 22, 25, 28, 40, 44, 48), 25)],
)  # fmt: skip
def test_views_of_dtu(tmp_path, views, sources, n_targets):
    for scan in (8, 21, 30, 31, 34, 38, 40, 41, 45, 55, 63, 82, 103, 110, 114):
        (tmp_path / f"DTU/scan{scan}").mkdir(parents=True)
    chosen = protocol("dtu-images", views=views)
    items = chosen.objects(tmp_path)
    assert len(items) == 15 and {item.sources for item in items} == {sources} and chosen.size == (400, 300)
    targets = chosen.targets(sources)
    assert len(targets) == n_targets and not set(targets) & {3, 4, 5, 6, 7, *range(16, 22), *range(36, 40), *sources}
    if views == 9:
        assert targets == (1, 2, 9, 10, 11, 12, 14, 15, 23, 24, 26, 27, *range(29, 36), 41, 42, 43, 45, 46, 47)


def test_ssim_and_psnr_are_scikit_images():
    """Against scikit-image 0.26: structural_similarity(..., channel_axis=2, data_range=1) in float64, and PSNR."""
    y, x, c = np.mgrid[:20, :24, :3]
    a = ((7 * x + 11 * y + 40 * c) % 256).astype(np.uint8)
    b = ((7 * x + 11 * y + 40 * c + (x * y) % 37) % 256).astype(np.uint8)
    assert metrics.ssim(a, b) == pytest.approx(0.5298481659600155, abs=1e-12)
    assert metrics.psnr(a, b) == pytest.approx(11.9374654, abs=1e-6)
    assert metrics.psnr(a, a) == np.inf and metrics.ssim(a, a) == pytest.approx(1)
    with pytest.raises(ValueError, match="at least 7 x 7 pixels, got 24 x 6"):
        metrics.ssim(a[:6], b[:6])


def test_renderings_are_truncated_to_8_bits():
    values = np.array([-0.2, 0.999 / 255, 1.0 / 255, 0.5, 254.9 / 255, 1.0, 7.0])
    assert metrics.to_8_bits(values).tolist() == [0, 0, 1, 127, 254, 255, 255]


def test_nmr_from_its_list_of_views(nmr, tmp_path):
    root, photos = nmr
    darker, shares = Darker(0.7), []
    result = run_protocol("nmr", root, darker, shares.append, out=tmp_path / "nmr.json")
    assert result["protocol"] == "nmr, 1 view" and result["sources"] == "src_dvr.txt" and result["complete"]
    assert darker.sources == [["0020.png"], ["0000.png"], ["0007.png"]] and shares == pytest.approx([1 / 3, 2 / 3, 1])
    assert darker.rendered[:23] == [f"{k:04d}.png" for k in range(24) if k != 20]
    for scene in darker.scenes:
        assert len(scene.views) == 1 and len(scene.test_views) == 23 and scene.background == (1.0, 1.0, 1.0)
        np.testing.assert_allclose(scene.box, [[-0.55] * 3, [0.55] * 3])
    scores = {}
    for key, source in (("02691156/aa", 20), ("02691156/bb", 0), ("03001627/cc", 7)):
        targets = [photo for k, photo in enumerate(photos[key]) if k != source]
        scores[key] = np.mean([expected_psnr(photo, 0.7) for photo in targets])
        assert result["objects"][key]["psnr"] == pytest.approx(scores[key], abs=1e-6)
        assert result["objects"][key]["views"] == 23 and result["objects"][key]["sources"] == [source]
    planes = result["categories"]["02691156"]
    assert planes["label"] == "airplane" and planes["objects"] == 2
    assert planes["psnr"] == pytest.approx((scores["02691156/aa"] + scores["02691156/bb"]) / 2)
    # Over objects, not over categories.
    assert result["mean"]["psnr"] == pytest.approx(np.mean(list(scores.values()))) and result["mean"]["objects"] == 3
    assert json.loads((tmp_path / "nmr.json").read_text()) == result
    lines = table(result).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["airplane", "chair", "mean"]


def test_a_run_goes_on_where_it_was_stopped(nmr, tmp_path):
    root, _ = nmr
    whole = run_protocol("nmr", root, Darker(0.7))

    def fails(scene, sources):
        if scene.path.name == "bb":
            raise KeyboardInterrupt
        return Darker(0.7)(scene, sources)

    out = tmp_path / "results.json"
    with pytest.raises(KeyboardInterrupt):
        run_protocol("nmr", root, fails, out=out)
    assert list(json.loads(out.read_text())["objects"]) == ["02691156/aa"]
    assert not json.loads(out.read_text())["complete"]
    rest = Darker(0.7)
    result = run_protocol("nmr", root, rest, out=out)
    assert [scene.path.name for scene in rest.scenes] == ["bb", "cc"]
    assert result["mean"] == whole["mean"] and result["complete"]
    again = Darker(0.7)
    assert run_protocol("nmr", root, again, out=out)["mean"] == whole["mean"] and not again.scenes


def test_a_file_of_other_results_is_not_gone_on_with(nmr, tmp_path):
    root, _ = nmr
    out = tmp_path / "results.json"
    run_protocol("nmr", root, Darker(0.7), out=out, about={"weights": "a"}, objects=["aa"])
    before = out.read_bytes()
    with pytest.raises(ValueError, match=r"results.json: holds results of about .*'a'.* expected .*'b'"):
        run_protocol("nmr", root, Darker(0.7), out=out, about={"weights": "b"})
    other = tmp_path / "views.txt"
    other.write_text("02691156 aa 3\n02691156 bb 0\n03001627 cc 7\n")
    with pytest.raises(ValueError, match=r"holds results of sources 'src_dvr.txt', expected 'views.txt'"):
        run_protocol("nmr", root, Darker(0.7), out=out, about={"weights": "a"}, view_list=other)
    renamed = tmp_path / "src_dvr.txt"
    other.rename(renamed)
    with pytest.raises(ValueError, match=r"02691156/aa was done from views \[20\], expected \[3\]"):
        run_protocol("nmr", root, Darker(0.7), out=out, about={"weights": "a"}, view_list=renamed)
    assert out.read_bytes() == before
    out.write_text("{}")
    with pytest.raises(ValueError, match=r"results.json: not results of a protocol"):
        run_protocol("nmr", root, Darker(0.7), out=out)


def test_a_part_of_the_objects(nmr):
    root, _ = nmr
    result = run_protocol("nmr", root, Darker(0.7), objects=["03001627/cc"])
    assert list(result["objects"]) == ["03001627/cc"] and not result["complete"]
    assert "not all objects" in table(result)
    with pytest.raises(ValueError, match="'xx' is not one of the 3 objects, such as 02691156/aa"):
        run_protocol("nmr", root, Darker(0.7), objects=["xx"])


def test_views_are_drawn_where_no_list_says_them(nmr, tmp_path):
    """By the object's name alone, the same on every machine."""
    root, _ = nmr
    copy = tmp_path / "NMR"
    copy.mkdir()
    for category in ("02691156", "03001627"):
        (copy / category).symlink_to(root / category)
    chosen = protocol("nmr", seed=3)
    assert chosen.sources(copy) == "drawn with seed 3" and chosen.sources(root) == "src_dvr.txt"
    for item in chosen.objects(copy):
        assert item.sources == (drawn_view(3, item.key, 24),)
    assert [drawn_view(0, f"a/{k}", 24) for k in range(5)] == [16, 1, 19, 8, 23]
    assert {drawn_view(0, f"a/{k}", 24) for k in range(500)} == set(range(24))


def test_srn_at_its_own_size(tmp_path):
    """Chairs and cars in one root; photos of another size are reduced, an alpha channel is dropped."""
    cameras = ring(251, 256, 256, 262.5)
    plain = np.full((256, 256, 3), 255, np.uint8)
    photos = []
    for k in range(251):
        photo = plain.copy()
        photo[100:140, 60:180] = [k, 255 - k, 99]
        photos.append(photo)
    published.write_srn(tmp_path / "cars_test/one", cameras, photos)
    transparent = np.concatenate([photos[7], np.full((256, 256, 1), 128, np.uint8)], axis=2)
    Image.fromarray(transparent).save(tmp_path / "cars_test/one/rgb/000007.png")
    darker = Darker(0.5)
    result = run_protocol("srn", tmp_path, darker, views=2)
    assert darker.sources == [["000064.png", "000104.png"]] and len(darker.rendered) == 249
    assert result["objects"]["cars/one"]["views"] == 249 and result["sources"] == "64 104"
    assert darker.scenes[0].test_views[0].camera.width == 128
    small = [photo.reshape(128, 2, 128, 2, 3).mean(axis=(1, 3)) for photo in photos]
    scores = [expected_psnr(photo, 0.5) for k, photo in enumerate(small) if k not in (64, 104, 7)]
    # The transparent photo is rendered as it looks on white, and scored against its own colours.
    shown = np.floor(np.rint(255 + (small[7] - 255) * (128 / 255)) / 255 * 0.5 * 255) / 255
    scores.append(10 * np.log10(1 / np.mean((shown - small[7] / 255) ** 2)))
    assert result["mean"]["psnr"] == pytest.approx(np.mean(scores), abs=1e-3)
    for root in (tmp_path, tmp_path / "cars", tmp_path / "cars_test"):
        assert srn_objects(root) == [("cars", "one", tmp_path / "cars_test/one")]


def test_dtu_in_mvsnets_layout(tmp_path):
    """Photos that count from 1, at twice the size; views beyond the protocol's are left out."""
    cameras = ring(12, 80, 60, 70.0)
    photos = pictures(cameras, 5)
    folder = published.write_mvsnet_training(tmp_path, "scan8", cameras, photos)
    chosen = replace(protocol("dtu-images"), n_views=10, size=(40, 30))
    items = [replace(item, sources=(2, 8)) for item in _dtu_items(tmp_path, chosen)]
    chosen = replace(chosen, objects=lambda root: items)
    darker = Darker(0.5)
    result = run_protocol(chosen, tmp_path, darker)
    assert darker.sources == [["rect_003_3_r5000.png", "rect_009_3_r5000.png"]]
    assert darker.rendered == [f"rect_{k + 1:03d}_3_r5000.png" for k in (0, 1, 9)]
    assert result["objects"]["DTU/scan8"]["views"] == 3 and darker.scenes[0].path == folder
    assert darker.scenes[0].background is None and darker.scenes[0].test_views[0].image().shape == (30, 40, 3)


def _dtu_items(root, chosen):
    for scan in (21, 30, 31, 34, 38, 40, 41, 45, 55, 63, 82, 103, 110, 114):
        (root / f"scan{scan}").mkdir()
    return chosen.objects(root)[:1]


@pytest.mark.parametrize(
    ("rendering", "message"),
    [
        (np.zeros((64, 63, 3), np.float32), r"rendering of 0001.png: expected floats \(64, 64, 3\) .*\(64, 63, 3\)"),
        (np.zeros((64, 64, 3), np.uint8), r"expected floats .* got uint8"),
        (np.full((64, 64, 3), np.nan), r"12288 values are not finite"),
    ],
)
def test_renderings_are_checked(nmr, rendering, message):
    class Wrong(Darker):
        def render(self, view):
            return rendering

    with pytest.raises(ValueError, match=message):
        run_protocol("nmr", nmr[0], Wrong(1), objects=["bb"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "dtu"}, "expected one of srn, nmr, nmr-unseen, dtu-images, got 'dtu'"),
        ({"name": "srn", "views": 3}, "srn is published for 1, 2, got 3"),
        ({"name": "nmr", "views": 2}, "nmr is published for 1, got 2"),
        ({"name": "dtu-images", "views": 2}, "dtu-images is published for 1, 3, 6, 9, got 2"),
        ({"name": "srn", "view_list": "x"}, "expected none for srn"),
    ],
)
def test_what_is_not_published_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        protocol(**arguments)


def test_data_that_are_not_the_protocols(nmr, tmp_path):
    root, _ = nmr
    for name, what in (("srn", "a test set of SRN"), ("nmr", "lists of test objects"), ("dtu-images", "scan8, scan21")):
        with pytest.raises(FileNotFoundError, match=what):
            protocol(name).objects(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/gen_test.lst").write_text("x\n")
    with pytest.raises(FileNotFoundError, match=r"gen_test.lst: names x, but there is no folder"):
        protocol("nmr-unseen").objects(tmp_path)
    views = tmp_path / "views.txt"
    views.write_text("02691156 aa 20\n")
    with pytest.raises(ValueError, match=r"views.txt: expected the source view of 02691156/bb, found none"):
        protocol("nmr", view_list=views).objects(root)
    views.write_text("\n02691156 aa x\n")
    with pytest.raises(ValueError, match=r"views.txt: line 2: expected category, object and views"):
        protocol("nmr", view_list=views).objects(root)
    with pytest.raises(ValueError, match=r"02691156/aa: source views are \[20\], expected numbers from 0 to 9"):
        run_protocol(replace(protocol("nmr"), n_views=10), root, Darker(1))
    with pytest.raises(ValueError, match=r"aa: expected views 0 to 30, but 7 of them are absent, the first: 24"):
        run_protocol(replace(protocol("nmr"), n_views=31), root, Darker(1))
    with pytest.raises(ValueError, match=r"the photo is 64x64, expected 40x30 or larger and of that shape"):
        run_protocol(replace(protocol("nmr"), size=(40, 30)), root, Darker(1))
