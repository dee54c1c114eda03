"""The camera: points lie on the rays of the pixels that they are projected to, and nothing is seen through a box."""

import pytest
import torch

from mambats_datasets.synthetic.world import NOTHING, Camera, Landmarks, outlines
from mambats_datasets.synthetic.world.cast import cast
from mambats_datasets.synthetic.world.landmarks import SKIN
from mambats_datasets.synthetic.world.rays import towards

SMALL = Camera(width=48, height=32, noise=0.0)
TWICE = torch.tensor([[1.0, 3.0]] * 2, dtype=torch.float64)


def test_projected_points_lie_on_the_rays(drawn):
    _, ego, _ = drawn
    pose = SMALL.pose(ego, TWICE)
    rays = SMALL.rays(pose, TWICE, torch.float64)
    far = torch.rand(rays.direction.shape[:3], dtype=torch.float64) * 50 + 1
    points = (rays.origin[:, :, None] + far[..., None] * rays.direction).unflatten(1, (2, -1)).flatten(2, 3)
    seen = SMALL.project(points, pose)
    column, row = torch.meshgrid(torch.arange(48.0), torch.arange(32.0), indexing="ij")
    torch.testing.assert_close(seen.pixel, torch.stack([column, row], -1).double().flatten(0, 1).expand_as(seen.pixel))
    assert seen.inside.all()
    x, y, z = pose.into(points).unbind(-1)
    k = SMALL.intrinsics()
    torch.testing.assert_close(seen.pixel, torch.stack([k[0, 0] * x / z + k[0, 2], k[1, 1] * y / z + k[1, 2]], -1))
    behind = SMALL.project(2 * pose.position[:, :, None] - points, pose)
    assert not behind.inside.any()


def test_depth_and_objects_are_those_of_the_rays(drawn):
    scene, ego, generator = drawn
    picture = SMALL.render(scene, ego, TWICE, generator, torch.float64)
    pose = SMALL.pose(ego, TWICE)
    hits = cast(scene, SMALL.rays(pose, TWICE, torch.float64), SMALL.reach)
    assert picture.object.transpose(2, 3).flatten(1, 2).equal(hits.object)
    points = SMALL.rays(pose, TWICE, torch.float64)
    places = points.origin[:, :, None] + hits.reach.clamp_max(1e3)[..., None] * points.direction
    depth = SMALL.project(places.unflatten(1, (2, -1)).flatten(2, 3), pose).depth.unflatten(2, (48, 32))
    solid = picture.object != NOTHING
    torch.testing.assert_close(picture.depth[solid], depth.transpose(2, 3)[solid])
    assert picture.depth[~solid].isinf().all()
    assert picture.image.dtype == torch.uint8
    assert picture.image.shape == (2, 2, 32, 48, 3)


def test_pictures_show_noise_and_the_same_seed_the_same(drawn):
    scene, ego, _ = drawn
    noisy = Camera(width=48, height=32, noise=4.0)
    first, again = (noisy.render(scene, ego, TWICE, torch.Generator().manual_seed(1)).image for _ in range(2))
    clean = SMALL.render(scene, ego, TWICE, torch.Generator().manual_seed(1)).image
    assert first.equal(again)
    middle = (clean > 30) & (clean < 225)
    assert 3.7 < (first.double() - clean.double())[middle].std() < 4.3


def test_pixels_of_an_object_lie_in_its_outline(drawn):
    scene, ego, generator = drawn
    t = torch.linspace(0, 4, 5, dtype=torch.float64).expand(2, 5)
    picture = SMALL.render(scene, ego, t, generator)
    seen = outlines(scene.moving(t), SMALL, SMALL.pose(ego, t), picture.object)
    assert (seen.pixels > 0).any()
    assert (seen.pixels > 0).logical_and(~seen.inside).sum() == 0
    for b, k, m in torch.nonzero(seen.pixels > 0).tolist():
        row, column = torch.nonzero(picture.object[b, k] == m).T
        left, top, right, bottom = seen.sides[b, k, m]
        assert left - 1e-3 <= column.min() <= column.max() <= right + 1e-3
        assert top - 1e-3 <= row.min() <= row.max() <= bottom + 1e-3
        assert len(row) == seen.pixels[b, k, m]


def test_outline_of_a_box_before_and_one_around_the_camera(scene_of, line):
    camera = Camera(width=101, height=101, view=torch.pi / 2)
    ahead, around = (11.2, 0.0, 0.0, 0.0, 0.0, 2.0, 3.0), (0.0, 2.0, 0.0, 0.0, 8.0, 2.0, 1.0)
    scene, t = scene_of([(500, 0, 1, 1, 1, 1, 0)], [ahead, around]), torch.zeros(1, 1, dtype=torch.float64)
    ahead = torch.tensor([11.2, 0, 0, 0, 4.0, 2.0, 3.0])
    scene.movers.size[0, 0] = ahead[4:].double()
    seen = outlines(scene.moving(t), camera, camera.pose(line(), t), torch.full((1, 1, 101, 101), NOTHING))
    # Its near face is 8 m before the camera, 2 m wide and 0 to 3 m high; the camera is 1.5 m up with focal length 50.5.
    wanted = torch.tensor([50 - 50.5 / 8, 50 - 50.5 * 1.5 / 8, 50 + 50.5 / 8, 50 + 50.5 * 1.5 / 8]).double()
    torch.testing.assert_close(seen.sides[0, 0, 0], wanted)
    assert seen.inside[0, 0].tolist() == [True, True]
    left, _, right, bottom = seen.sides[0, 0, 1].tolist()
    assert left == -0.5, "a box that reaches behind the camera at its left is cut at the border"
    assert right < 50
    assert bottom == 100.5


def test_landmarks_are_seen_where_nothing_is_in_between(drawn, slow):
    scene, ego, generator = drawn
    marks = Landmarks(count=100, noise=0.0)
    points = marks.draw(scene, generator)
    seen = marks.observe(points, SMALL, scene, ego, TWICE, generator)
    assert 0.01 < seen.visible.double().mean() < 0.5
    pose = SMALL.pose(ego, TWICE)
    spread = points[:, None].expand(-1, 2, -1, -1)
    exact = SMALL.project(spread, pose)
    torch.testing.assert_close(seen.pixel, exact.pixel)
    rays, far = towards(pose.position, spread, TWICE, torch.float64)
    before = far - slow(scene, rays, SMALL.reach)[0][..., 0]
    wanted = exact.inside & (before <= SKIN).view(2, 2, 100) & (far <= SMALL.reach).view(2, 2, 100)
    clear = ((before - SKIN).abs() > 1e-4).view(2, 2, 100)
    assert seen.visible[clear].equal(wanted[clear])
    assert (exact.inside & ~seen.visible).any()


def test_a_wall_hides_all_landmarks_behind_it(scene_of, line):
    house, wall = (30, 0, 5, 10, 20, 10, 0), (5, 0, 25, 0.5, 100, 50, 0)
    marks, generator = Landmarks(count=100, noise=0.0), torch.Generator().manual_seed(0)
    open_, closed = scene_of([house]), scene_of([house, wall])
    points, t = marks.draw(open_, generator), torch.zeros(1, 1, dtype=torch.float64)
    assert marks.observe(points, SMALL, open_, line(), t, generator).visible.any()
    assert not marks.observe(points, SMALL, closed, line(), t, generator).visible.any()


@pytest.mark.parametrize(
    ("wrong", "words"), [({"width": 0}, "0 x 64"), ({"view": 4.0}, "view 4.0"), ({"reach": 0.0}, "reach is 0.0")]
)
def test_wrong_numbers_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        Camera(**wrong)
