"""The cloud on disk: exact counts, spacing, colours, the user's frame, batches."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from toy import RADIUS, ball_maps, ball_photos, ring, texture

from uner3d.cloud import resample
from uner3d.cloud.agree import agree
from uner3d.cloud.generate import EmptyCloud, write_cloud
from uner3d.cloud.ply import read_ply
from uner3d.train.photos import UnitFrame, neighbours

FRAME = UnitFrame(np.array([[10.0, -7.0, 100.0], [14.0, -3.0, 104.0]]))  # twice the unit, elsewhere
SEEN = ring(4, arc=0.8)


@pytest.fixture(scope="module")
def surface():
    photos = ball_photos(4, 64, 48, 106.0, masks=False, poses=SEEN)
    maps = ball_maps(photos)
    ranking = neighbours(photos)
    return maps, agree(maps, photos, ranking), photos, ranking


def unit(cloud) -> torch.Tensor:
    return torch.tensor((cloud.xyz.astype(np.float64) - FRAME.center) / FRAME.half).float()


@pytest.mark.parametrize("n_points", [1, 13, 500, 4000])
def test_the_count_is_exact(surface, tmp_path, n_points):
    path = tmp_path / "cloud.ply"
    shares = []
    result = write_cloud(path, *surface, FRAME, n_points=n_points, progress=shares.append)
    cloud = read_ply(path)
    assert result.n_points == len(cloud) == n_points and shares[-1] == 1
    if n_points > 1:
        apart = cKDTree(cloud.xyz).query(cloud.xyz, k=2)[0][:, 1]
        assert apart.min() > 0.3 * result.spacing
    if n_points >= 500:
        assert apart.mean() == pytest.approx(result.spacing, rel=0.15)


def test_spacing_is_in_world_units(surface, tmp_path):
    result = write_cloud(tmp_path / "a.ply", *surface, FRAME, spacing=0.05)
    cloud = read_ply(tmp_path / "a.ply")
    apart = cKDTree(cloud.xyz).query(cloud.xyz, k=2)[0][:, 1]
    assert result.spacing == pytest.approx(0.05)
    assert apart.min() >= 0.3 * 0.05 and apart.mean() == pytest.approx(0.05, rel=0.15)


@pytest.mark.parametrize("density", [{"spacing": 1e-9}, {"n_points": 2**40}])
def test_more_points_than_can_be_are_refused_before_any_is_made(surface, tmp_path, density):
    with pytest.raises(ValueError, match="expected at most 2,147,483,647"):
        write_cloud(tmp_path / "a.ply", *surface, FRAME, **density)
    assert list(tmp_path.iterdir()) == []


def test_points_lie_on_the_ball_in_the_world(surface, tmp_path):
    write_cloud(tmp_path / "a.ply", *surface, FRAME, n_points=3000)
    cloud = read_ply(tmp_path / "a.ply")
    x = unit(cloud)
    assert (x.norm(dim=-1) - RADIUS).abs().max() < 0.01
    outwards = (torch.tensor(cloud.normals) * torch.nn.functional.normalize(x, dim=-1)).sum(-1)
    assert outwards.min() > 0.9
    assert (cloud.n_views >= 2).all() and (cloud.n_views >= 3).mean() > 0.8
    assert (cloud.confidence > 0).all() and (cloud.confidence <= 1).all()
    error = (torch.tensor(cloud.rgb) / 255 - texture(x)).abs()
    assert error.median() < 0.02 and error.mean() < 0.03


def test_the_default_spacing_is_half_a_photo_pixel(surface, tmp_path):
    result = write_cloud(tmp_path / "a.ply", *surface, FRAME)
    assert result.spacing == pytest.approx(0.5 * (3.5 - 0.5) / 106.0 * FRAME.half, rel=0.1)
    assert result.n_points == len(read_ply(tmp_path / "a.ply"))


def test_any_batch_size_gives_the_same_file(surface, tmp_path, monkeypatch):
    write_cloud(tmp_path / "a.ply", *surface, FRAME, n_points=700)
    monkeypatch.setattr(resample, "BATCH", 300)
    write_cloud(tmp_path / "b.ply", *surface, FRAME, n_points=700)
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()


def test_far_from_the_origin_positions_are_double(surface, tmp_path):
    """Easting and northing: float32 would round them by a quarter of a metre."""
    frame = UnitFrame(np.array([[4e6, 5e6, 0.0], [4e6 + 2, 5e6 + 2, 2.0]]))
    write_cloud(tmp_path / "a.ply", *surface, frame, n_points=300)
    cloud = read_ply(tmp_path / "a.ply")
    assert cloud.xyz.dtype == np.float64
    assert np.abs(np.linalg.norm(cloud.xyz - frame.center, axis=1) - RADIUS).max() < 0.01


def test_an_empty_surface_says_why(surface, tmp_path):
    _, _, photos, ranking = surface
    nothing = ball_maps(photos)
    nothing.depth.zero_()
    with pytest.raises(EmptyCloud, match="no surface inside the box"):
        write_cloud(tmp_path / "a.ply", nothing, agree(nothing, photos, ranking), photos, ranking, FRAME)
    apart = ball_maps(photos)
    apart.depth *= torch.tensor([0.8, 0.9, 1.0, 1.1])[:, None, None]
    with pytest.raises(EmptyCloud, match="check the camera poses"):
        write_cloud(tmp_path / "a.ply", apart, agree(apart, photos, ranking), photos, ranking, FRAME)
    assert not (tmp_path / "a.ply").exists()
