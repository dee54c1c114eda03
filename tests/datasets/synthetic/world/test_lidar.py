"""The LiDAR: its points lie on faces and ground, at the pose of their own time."""

import pytest
import torch

from mambats_datasets.synthetic.clock import Timing
from mambats_datasets.synthetic.world import EARTH, NOTHING, Lidar
from mambats_datasets.synthetic.world.kinds import CAR, GROUND
from mambats_datasets.synthetic.world.pose import Pose, sensor_pose

IDEAL = Lidar(rings=8, columns=90, noise=0.0, dropout=0.0)


def in_map(lidar, sweep, ego, begins, own_time=True):
    """Points (B, T R, 1, 3) of the map, by the pose at each point's time or at its sweep's beginning."""
    t = begins[..., None] + (sweep.t if own_time else torch.zeros_like(sweep.t))
    pose = sensor_pose(ego(t.flatten(1)), lidar.mount)
    return pose.out(sweep.points.flatten(1, 2)[:, :, None]), (begins[..., None] + sweep.t).flatten(1)


def surface_error(scene, points, t, index):
    """Distance in metres of points from the surface that they are said to lie on."""
    boxes = scene.boxes(t)
    one = index.clamp_min(0)[..., None]
    centre, size = (part.gather(2, one[..., None].expand(-1, -1, -1, 3))[:, :, 0] for part in boxes[:2])
    yaw = boxes.yaw.gather(2, one)[:, :, 0]
    x, y, z = (points[:, :, 0] - centre).unbind(-1)
    local = torch.stack([yaw.cos() * x + yaw.sin() * y, yaw.cos() * y - yaw.sin() * x, z], -1)
    over = local.abs() - size / 2
    out = over.clamp_min(0).norm(dim=-1) + over.amax(-1).clamp_max(0).abs()
    high = points[:, :, 0, 2] - scene.ground.height(points[:, :, 0, :2])
    return torch.where(index == EARTH, high.abs(), out)


def test_points_lie_on_what_they_hit(drawn):
    scene, ego, generator = drawn
    begins = torch.tensor([[0.0, 1.3, 3.9]] * 2, dtype=torch.float64)
    sweep = IDEAL.sweep(scene, ego, begins, generator, torch.float64)
    points, t = in_map(IDEAL, sweep, ego, begins)
    error = surface_error(scene, points, t, sweep.object.flatten(1))
    seen = sweep.returned.flatten(1)
    assert error[seen].max() < 1e-9
    assert sweep.returned.equal(sweep.object != NOTHING)
    assert (sweep.object >= scene.count).any()
    naive, _ = in_map(IDEAL, sweep, ego, begins, own_time=False)
    assert surface_error(scene, naive, t, sweep.object.flatten(1))[seen].max() > 0.1, "the sweep is not distorted"


def test_points_lie_on_moving_boxes_at_their_own_time(scene_of, line):
    car = (12.0, -8.0, 1.2, 9.0, 4.0, 1.6, 1.5)
    scene, generator = scene_of([(60, 60, 1, 1, 1, 1, 0)], [car]), torch.Generator().manual_seed(0)
    lidar = Lidar(rings=32, columns=720, noise=0.0, dropout=0.0)
    begins = torch.tensor([[0.4, 0.8]], dtype=torch.float64)
    sweep = lidar.sweep(scene, line((5.0, 1.0, 0.0)), begins, generator, torch.float64)
    points, t = in_map(lidar, sweep, line((5.0, 1.0, 0.0)), begins)
    error = surface_error(scene, points, t, sweep.object.flatten(1))
    on_car = sweep.object.flatten(1) == 0
    assert on_car.sum() > 100
    assert error[on_car].max() < 1e-9
    assert (sweep.kind.flatten(1)[on_car] == CAR).all()


def test_a_sensor_at_rest_needs_no_deskew(drawn, line):
    scene, _, generator = drawn
    still, begins = line(batch=2), torch.tensor([[0.0, 2.0]] * 2, dtype=torch.float64)
    sweep = IDEAL.sweep(scene, still, begins, generator, torch.float64)
    own, at_begin = (in_map(IDEAL, sweep, still, begins, own_time)[0] for own_time in (True, False))
    assert own.equal(at_begin)
    standing = (sweep.object >= scene.count) | (sweep.object == EARTH)
    both = standing.all(1)
    assert sweep.points[:, 0][both].equal(sweep.points[:, 1][both])


def test_same_seed_same_bits(drawn):
    scene, ego, _ = drawn
    begins = torch.tensor([[1.0]] * 2, dtype=torch.float64)
    lidar = Lidar(columns=40)
    sweeps = (lidar.sweep(scene, ego, begins, torch.Generator().manual_seed(seed)) for seed in (7, 7, 8))
    first, again, other = sweeps
    assert all(a.equal(b) for a, b in zip(first, again, strict=True))
    assert not first.points.equal(other.points)


def test_noise_dropout_and_intensity_are_as_said(scene_of, line):
    lidar = Lidar(rings=16, columns=720, elevation=(-0.4, -0.1), noise=0.05, dropout=0.1)
    scene, generator = scene_of([(500, 0, 1, 1, 1, 1, 0)]), torch.Generator().manual_seed(0)
    sweep = lidar.sweep(scene, line(), torch.zeros(1, 2, dtype=torch.float64), generator, torch.float64)
    assert abs(sweep.returned.double().mean() - 0.9) < 0.01
    exact = 1.8 / torch.linspace(-0.4, -0.1, 16, dtype=torch.float64).sin().abs()
    error = (sweep.points.norm(dim=-1) - exact.repeat(720))[sweep.returned]
    assert abs(error.mean()) < 0.002
    assert abs(error.std() - 0.05) < 0.002
    assert (sweep.points[~sweep.returned] == 0).all()
    assert (sweep.kind == GROUND).all()
    assert sweep.intensity.amin() >= 0
    shone = sweep.intensity.view(2, 720, 16)[..., 0][sweep.returned.view(2, 720, 16)[..., 0]]
    assert abs(shone.mean() - 0.25 * torch.sin(torch.tensor(0.4))) < 0.005  # reflectivity times cosine of incidence


def test_rays_leave_in_the_order_of_their_times():
    lidar = Lidar(rings=4, columns=36, timing=Timing(20.0))
    rays, across = lidar.directions(torch.zeros((), dtype=torch.float64))
    turn = torch.atan2(rays[..., 1], rays[..., 0])[:, 0]
    assert (turn.diff() > 0).all(), "turns left"
    assert (torch.einsum("kni,ki->kn", rays, across).abs() < 1e-15).all()
    times = lidar.times()
    assert times[0] == 0
    assert torch.allclose(times.diff(), torch.tensor(1 / (20 * 36), dtype=torch.float64))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"rings": 0}, "rings are 0"), ({"elevation": (0.2, -0.2)}, "elevation"), ({"dropout": 2.0}, "dropout 2.0")],
)
def test_wrong_numbers_are_refused(wrong, words):
    with pytest.raises(ValueError, match=words):
        Lidar(**wrong)


def test_poses_go_out_and_back(drawn):
    _, ego, generator = drawn
    pose: Pose = sensor_pose(ego(torch.tensor([[0.0, 3.0]] * 2, dtype=torch.float64)), IDEAL.mount)
    points = torch.randn(2, 2, 9, 3, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(pose.into(pose.out(points)), points)
