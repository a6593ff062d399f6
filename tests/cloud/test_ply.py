"""PLY files: written in pieces, read back by ourselves and by others, and refused clearly when broken."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from uner3d.cloud.ply import Cloud, PlyWriter, needs_double, read_ply, write_ply


def sample_cloud(n: int, dtype=np.float32, seed: int = 0) -> Cloud:
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(n, 3)).astype(np.float32)
    return Cloud(
        rng.normal(size=(n, 3)).astype(dtype),
        normals / np.linalg.norm(normals, axis=1, keepdims=True),
        rng.integers(0, 256, (n, 3), np.uint8),
        rng.random(n).astype(np.float32),
        rng.integers(0, 49, n).astype(np.uint8),
    )


def parts_of(cloud: Cloud):
    return cloud.xyz, cloud.normals, cloud.rgb, cloud.confidence, cloud.n_views


def assert_same(a: Cloud, b: Cloud) -> None:
    for got, want in zip(parts_of(a), parts_of(b), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("pieces", [[7], [0, 1, 0, 99], [12345, 1, 7]])
def test_round_trip_in_any_number_of_pieces(tmp_path, dtype, pieces):
    cloud = sample_cloud(sum(pieces), dtype)
    start = 0
    with PlyWriter(tmp_path / "c.ply", double=dtype == np.float64) as ply:
        for n in pieces:
            ply.write(*parts_of(cloud[start : start + n]))
            start += n
    assert ply.count == sum(pieces)
    assert_same(read_ply(tmp_path / "c.ply"), cloud)
    assert os.listdir(tmp_path) == ["c.ply"]


@settings(max_examples=30, deadline=None)
@given(
    xyz=hnp.arrays(
        np.float32, st.tuples(st.integers(1, 20), st.just(3)), elements=st.floats(-(2.0**99), 2.0**99, width=32)
    )
)
def test_any_finite_position_survives(tmp_path_factory, xyz):
    path = tmp_path_factory.mktemp("ply") / "c.ply"
    write_ply(path, Cloud(xyz))
    np.testing.assert_array_equal(read_ply(path).xyz, xyz)


def test_other_readers_agree(tmp_path):
    plyfile = pytest.importorskip("plyfile")
    cloud = sample_cloud(1000)
    write_ply(tmp_path / "c.ply", cloud)
    vertex = plyfile.PlyData.read(str(tmp_path / "c.ply"))["vertex"]
    assert [p.name for p in vertex.properties] == "x y z nx ny nz red green blue confidence n_views".split()
    np.testing.assert_array_equal(np.stack([vertex[k] for k in "xyz"], 1), cloud.xyz)
    np.testing.assert_array_equal(vertex["n_views"], cloud.n_views)
    o3d = pytest.importorskip("open3d", exc_type=ImportError)
    seen = o3d.io.read_point_cloud(str(tmp_path / "c.ply"))
    np.testing.assert_array_equal(np.asarray(seen.points, np.float32), cloud.xyz)
    np.testing.assert_allclose(np.asarray(seen.colors) * 255, cloud.rgb, atol=1e-9)
    np.testing.assert_allclose(np.asarray(seen.normals), cloud.normals, atol=1e-7)


@pytest.mark.parametrize("order", ["<", ">", "text"])
def test_reads_what_plyfile_writes(tmp_path, order):
    plyfile = pytest.importorskip("plyfile")
    cloud = sample_cloud(50, np.float64)
    rows = np.empty(50, [("x", "f8"), ("y", "f8"), ("z", "f8"), ("red", "u1"), ("green", "u1"), ("blue", "u1")])
    for k in range(3):
        rows["xyz"[k]], rows[("red", "green", "blue")[k]] = cloud.xyz[:, k], cloud.rgb[:, k]
    face = np.empty(2, [("vertex_indices", "i4", (3,))])
    face["vertex_indices"] = [[0, 1, 2], [1, 2, 3]]
    camera = np.zeros(3, [("focal", "f4"), ("id", "i2")])
    elements = [plyfile.PlyElement.describe(*e) for e in ((camera, "camera"), (rows, "vertex"), (face, "face"))]
    plyfile.PlyData(elements, text=order == "text", byte_order=order[0] if order in "<>" else "=").write(
        str(tmp_path / "p.ply")
    )
    got = read_ply(tmp_path / "p.ply")
    np.testing.assert_allclose(got.xyz, cloud.xyz, rtol=1e-12 if order == "text" else 0)
    np.testing.assert_array_equal(got.rgb, cloud.rgb)
    assert got.normals is None and got.confidence is None and got.n_views is None


@pytest.mark.parametrize("values", ["0 0.5 1", "0 127.5 255"])
def test_float_colours(tmp_path, values):
    names = "".join(f"property float {c}\n" for c in ("x", "y", "z", "red", "green", "blue"))
    (tmp_path / "f.ply").write_text(f"ply\nformat ascii 1.0\nelement vertex 1\n{names}end_header\n1 2 3 {values}\n")
    assert read_ply(tmp_path / "f.ply").rgb.tolist() == [[0, 128, 255]]


def test_memory_does_not_grow_with_the_number_of_pieces(tmp_path):
    tracemalloc = pytest.importorskip("tracemalloc")
    cloud = sample_cloud(20_000)
    peaks = []
    for pieces in (2, 40):
        tracemalloc.start()
        with PlyWriter(tmp_path / "c.ply") as ply:
            for _ in range(pieces):
                ply.write(*parts_of(cloud))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + 100_000
    assert len(read_ply(tmp_path / "c.ply")) == 800_000


def test_an_error_leaves_the_old_file_and_no_rest(tmp_path):
    write_ply(tmp_path / "c.ply", sample_cloud(3))
    with pytest.raises(RuntimeError, match="stop"), PlyWriter(tmp_path / "c.ply") as ply:
        ply.write(*parts_of(sample_cloud(9)))
        raise RuntimeError("stop")
    assert os.listdir(tmp_path) == ["c.ply"] and len(read_ply(tmp_path / "c.ply")) == 3


def bad(name, value):
    arrays = dict(zip(("xyz", "normals", "rgb", "confidence", "n_views"), parts_of(sample_cloud(4)), strict=True))
    return arrays | {name: value}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (bad("xyz", np.zeros((4, 2))), r"xyz: expected shape \(4, 3\).*got \(4, 2\)"),
        (bad("normals", np.zeros((3, 3))), r"normals: expected shape \(4, 3\).*got \(3, 3\)"),
        (bad("rgb", np.zeros((4, 3))), "rgb: expected dtype uint8, got float64"),
        (bad("n_views", np.zeros(4, np.int64)), "n_views: expected dtype uint8, got int64"),
        (bad("xyz", np.array([[0, 0, 0], [0, 0, 1], [0, np.nan, 0], [0, 0, 0]])), "finite positions.*row 2"),
    ],
)
def test_bad_arrays_are_named(tmp_path, arrays, words):
    with pytest.raises(ValueError, match=rf"c\.ply: .*{words}"), PlyWriter(tmp_path / "c.ply") as ply:
        ply.write(**arrays)
    assert os.listdir(tmp_path) == []


def test_writing_outside_the_block_or_into_no_folder(tmp_path):
    with pytest.raises(RuntimeError, match="outside"):
        PlyWriter(tmp_path / "c.ply").write(*parts_of(sample_cloud(1)))
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist"), PlyWriter(tmp_path / "nowhere" / "c.ply"):
        pass
    with pytest.raises(IsADirectoryError, match="folder"), PlyWriter(tmp_path):
        pass


def test_truncated_file_names_bytes(tmp_path):
    path = tmp_path / "c.ply"
    write_ply(path, sample_cloud(100))
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(ValueError, match=rf"cut short: expected at least {len(whole)} bytes .* found {len(whole) - 5}"):
        read_ply(path)


HEAD = b"ply\nformat ascii 1.0\n"
XYZ = b"property float x\nproperty float y\nproperty float z\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a PLY"),
        (b"\x89PNG\r\n", "not a PLY"),
        (HEAD + b"element face 0\nend_header\n", "no vertices"),
        (HEAD + b"element vertex 0\nproperty float x\nend_header\n", "no vertices"),
        (HEAD + b"element vertex 1\nproperty float x\nproperty float y\nend_header\n0 0\n", "missing z"),
        (HEAD + b"element vertex 1\nproperty float x\n", "end_header.*missing"),
        (HEAD + b"element vertex many\nend_header\n", "element vertex many"),
        (HEAD + b"element vertex -1\nend_header\n", "element vertex -1"),
        (HEAD + b"element vertex 1\nproperty quad x\nend_header\n", "property quad x"),
        (HEAD + b"property float x\nend_header\n", "property float x"),
        (b"ply\nformat utf8 1.0\nend_header\n", "format utf8"),
        (b"ply\nelement vertex 1\nend_header\n", "format.*missing"),
        (HEAD + b"element vertex 2\n" + XYZ + b"end_header\n1 2 3\n", "expected 2 vertex lines, found 1"),
        (HEAD + b"element vertex 1\n" + XYZ + b"end_header\n1 2 a\n", "element vertex"),
    ],
)
def test_broken_files_are_refused(tmp_path, content, words):
    (tmp_path / "b.ply").write_bytes(content)
    with pytest.raises(ValueError, match=rf"b\.ply: .*{words}"):
        read_ply(tmp_path / "b.ply")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.ply"):
        read_ply(tmp_path / "none.ply")


def test_needs_double():
    assert needs_double(5e6, 0.01) and not needs_double(5e3, 0.01) and needs_double(-5e6, 0.01)
    spacing, coordinate = 0.01, 2**20 * 0.01
    assert np.spacing(np.float32(coordinate)) <= spacing / 8  # what float32 still resolves at the limit


def test_cloud_checks_its_shapes():
    with pytest.raises(ValueError, match=r"Cloud\.rgb: expected shape \(2, 3\), got \(3, 3\)"):
        Cloud(np.zeros((2, 3)), rgb=np.zeros((3, 3), np.uint8))
    with pytest.raises(ValueError, match=r"Cloud\.xyz: expected shape"):
        Cloud(np.zeros(3))
