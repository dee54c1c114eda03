"""Sweeps for detectors: undistorted, with the boxes that they can show."""

import pytest
import torch

from mambats.formats.error import DataError
from mambats_datasets.synthetic.world import Layout, Lidar
from mambats_datasets.synthetic.world.lidar_drives import LEAST, LidarDrives

LIDAR = Lidar(rings=24, columns=180, noise=0.0, dropout=0.0)


@pytest.fixture(scope="module")
def sweeps():
    return LidarDrives(3, 0.6, seed=2, layout=Layout(objects=16, structures=8), lidar=LIDAR).sweeps()


def test_a_table_of_whole_drives(sweeps):
    assert len(sweeps) == 18 and sweeps.drive.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert sweeps.stamps[:2].tolist() == [50_000_000, 150_000_000], "the middle of each sweep"
    assert set(sweeps.labels.unique().tolist()) == {-1, 0, 1, 2}


def test_boxes_hold_their_points(sweeps):
    checked = 0
    for row in range(len(sweeps)):
        points = sweeps.points[row][sweeps.points[row].isfinite().all(-1), :3]
        for box, label, velocity in zip(sweeps.boxes[row], sweeps.labels[row], sweeps.velocity[row], strict=True):
            if label < 0:
                continue
            away = points - box[:3]
            cos, sin = box[6].cos(), box[6].sin()
            local = torch.stack(
                [cos * away[:, 0] + sin * away[:, 1], cos * away[:, 1] - sin * away[:, 0], away[:, 2]], -1
            )
            slack = 0.02 + 0.05 * float(velocity.norm())  # half a turn's time of motion
            inside = (local.abs() <= box[3:6] / 2 + torch.tensor([slack, slack, 0.02])).all(-1).sum()
            assert inside >= LEAST
            checked += 1
    assert checked > 50


def test_the_ground_stays_where_it_is_from_sweep_to_sweep(sweeps):
    batch = sweeps.batch(torch.tensor([5]), (0, 5))
    points = batch.points[0][batch.points[0].isfinite().all(-1)]
    far = points[:, 4] > 0.4
    heights = [torch.quantile(points[chosen, 2], 0.02) for chosen in (far, ~far)]
    assert abs(float(heights[0] - heights[1])) < 0.1
    assert (sweeps.pose[5, :3, 3] - sweeps.pose[0, :3, 3]).norm() > 1, "the sensor moved"


def test_the_same_arguments_give_the_same_sweeps_from_the_cache_too(tmp_path, sweeps):
    source = LidarDrives(3, 0.6, seed=2, layout=Layout(objects=16, structures=8), lidar=LIDAR, cache=str(tmp_path))
    for made in (source.sweeps(), source.sweeps()):
        assert torch.equal(made.boxes, sweeps.boxes) and torch.equal(made.labels, sweeps.labels)
        torch.testing.assert_close(made.points.float(), sweeps.points, atol=0.04, rtol=0, equal_nan=True)
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(DataError, match="drives are 0"):
        LidarDrives(0)
