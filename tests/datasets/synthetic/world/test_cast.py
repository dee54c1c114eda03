"""The fast caster against a slow one that knows no slabs, no columns and no chunks."""

import pytest
import torch

from mambats_datasets.synthetic.world import EARTH, NOTHING, Camera, Lidar, Rays, cast

FEW, MANY = Lidar(rings=5, columns=24), Lidar(columns=80)


def test_equals_the_slow_caster(drawn, slow):
    scene, ego, _ = drawn
    rays = FEW.rays(ego, torch.full((2, 1), 2.0, dtype=torch.float64), torch.float64)
    reach, index = slow(scene, rays, 60.0)
    hits = cast(scene, rays, 60.0)
    torch.testing.assert_close(hits.reach, reach, rtol=0, atol=1e-9)
    assert torch.equal(hits.object, index)
    assert {EARTH, NOTHING} < set(index.unique().tolist())


def test_single_precision_is_near(drawn):
    scene, ego, _ = drawn
    t = torch.full((2, 1), 1.0, dtype=torch.float64)
    double, single = (cast(scene, MANY.rays(ego, t, dtype), 100.0) for dtype in (torch.float64, torch.float32))
    same = double.object == single.object
    assert same.double().mean() > 0.9998, "rays along an edge may meet the other side of it"
    seen = same & (double.object != NOTHING)
    error = (single.reach - double.reach)[seen].abs() / double.reach[seen]
    assert error.median() < 1e-6
    assert error.quantile(0.999) < 1e-3, "rays along a face"


@pytest.mark.parametrize("chunk", [1, 700, 10**4, 10**8])
def test_memory_bound_changes_no_bit(drawn, chunk):
    scene, ego, _ = drawn
    rays = FEW.rays(ego, torch.tensor([[0.5, 2.5]] * 2, dtype=torch.float64))
    for once, parted in zip(cast(scene, rays, 80.0), cast(scene, rays, 80.0, chunk), strict=True):
        assert torch.equal(once, parted)


@pytest.mark.parametrize("sensor", ["lidar", "camera"])
def test_leaving_out_far_boxes_changes_nothing(drawn, sensor):
    scene, ego, _ = drawn
    t = torch.full((2, 1), 2.0, dtype=torch.float64)
    camera = Camera(width=24, height=16)
    rays = FEW.rays(ego, t) if sensor == "lidar" else camera.rays(camera.pose(ego, t), t)
    everywhere = Rays(rays.origin, rays.direction, torch.zeros_like(rays.across), rays.time)
    assert torch.equal(cast(scene, rays, 80.0).reach, cast(scene, everywhere, 80.0).reach)


def test_nothing_is_seen_through_a_box_or_the_ground(drawn, inside):
    scene, ego, generator = drawn
    rays = FEW.rays(ego, torch.full((2, 2), 1.5, dtype=torch.float64), torch.float64)
    hits = cast(scene, rays, 60.0)
    boxes = scene.boxes(rays.time)
    for share in torch.rand(50, generator=generator, dtype=torch.float64):
        range_ = share * hits.reach.clamp_max(60.0)
        points = rays.origin[:, :, None] + range_[..., None] * rays.direction
        assert not inside(points, boxes, 1e-9).any()
        assert (points[..., 2] > scene.ground.height(points[..., :2]) - 1e-9).all()


def test_a_wall_hides_what_stands_behind(scene_of, line):
    wall, house = (5, 0, 1, 0.5, 40, 30, 0), (15, 0, 4, 6, 6, 8, 0.4)
    rays = FEW.rays(line(), torch.zeros(1, 1, dtype=torch.float64))
    assert 1 in cast(scene_of([house, house]), rays, 50.0).object or 0 in cast(scene_of([house]), rays, 50.0).object
    assert 1 not in cast(scene_of([wall, house]), rays, 50.0).object


def test_a_box_that_holds_the_sensor_is_not_there(scene_of, line):
    rays = FEW.rays(line(), torch.zeros(1, 1, dtype=torch.float64))
    assert (cast(scene_of([(0, 0, 1, 9, 9, 9, 0.3)]), rays, 50.0).object < 0).all()


def test_rays_along_faces_and_axes_are_numbers(scene_of):
    origin = torch.tensor([[[0.0, 1.0, 1.0]]], dtype=torch.float64)
    along = torch.tensor([[[[1.0, 0, 0], [-1, 0, 0], [0, 0, 1], [0, 1, 0]]]], dtype=torch.float64)
    rays = Rays(origin, along, torch.zeros_like(origin), torch.zeros(1, 1, dtype=torch.float64))
    hits = cast(scene_of([(5, 0, 1, 2, 2, 2, 0)]), rays, 50.0)  # its left face lies in the plane y = 1
    assert not hits.reach.isnan().any()
    assert hits.object[0, 0, 1:].tolist() == [NOTHING] * 3


def test_no_rays(scene_of, line):
    hits = cast(scene_of([(5, 0, 1, 2, 2, 2, 0)]), FEW.rays(line(), torch.zeros(1, 0, dtype=torch.float64)), 50.0)
    assert hits.reach.shape == (1, 0, 5)
    assert hits.object.dtype == torch.int64
