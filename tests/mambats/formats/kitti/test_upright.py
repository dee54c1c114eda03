from dataclasses import replace

import numpy as np
import pytest

from mambats.formats import DataError
from mambats.formats.kitti import read_object, read_tracking, upright_boxes
from mambats_datasets.fakes import kitti
from mambats_datasets.fakes.kitti_rig import VELO_TO_RECT, Box

CORNERS = np.array(np.meshgrid(*[(-0.5, 0.5)] * 3)).reshape(3, -1).T


def corners(row):
    """Corners of x y z l w h yaw."""
    sine, cosine = np.sin(row[6]), np.cos(row[6])
    turn = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    return (CORNERS * row[3:6]) @ turn.T + row[:3]


def test_a_box_has_the_same_corners_in_both_frames(tmp_path):
    recording = read_object(kitti.fake_object(tmp_path), "000000")
    boxes = upright_boxes(recording.ragged["labels"], recording.frames)
    assert boxes.frame == "lidar" and boxes.channels[:7] == ("x", "y", "z", "l", "w", "h", "yaw")
    assert len(boxes.values) == 2  # without DontCare
    # The rig of the fakes is turned about the camera's vertical alone, so that the boxes stand upright in both.
    for row, box in zip(boxes.values, (kitti.PARKED, kitti.WALKER), strict=True):
        there = (box.place(CORNERS) - VELO_TO_RECT[:, 3]) @ VELO_TO_RECT[:, :3]
        mine = corners(row)
        distance = np.linalg.norm(there[:, None] - mine[None], axis=2)
        np.testing.assert_allclose(distance.min(1), 0, atol=2e-6)
        assert len(set(distance.argmin(1))) == 8


def test_the_yaw_points_where_the_box_does(tmp_path):
    recording = read_object(kitti.fake_object(tmp_path), "000000")
    labels = recording.ragged["labels"]
    ahead = labels.values.copy()
    ahead[:, labels.channels.index("yaw")] = -np.pi / 2  # away from the camera
    boxes = upright_boxes(replace(labels, values=ahead), recording.frames)
    np.testing.assert_allclose(boxes.values[:, 6], 0, atol=0.01)
    assert Box(0, 0, 10, yaw=-np.pi / 2).alpha == pytest.approx(-np.pi / 2)


def test_tables_stay_with_their_stamps(tmp_path):
    recording = read_tracking(kitti.fake(tmp_path), "0000", lidar=False)
    boxes = upright_boxes(recording.ragged["labels"], recording.frames)
    assert np.diff(boxes.splits).tolist() == [2, 2, 2, 1] * 3
    assert boxes.channels[7:] == ("track", "class", "truncated", "occluded")
    assert boxes.labels["class"][int(boxes.table(3)[0, 8])] == "Car"
    found = upright_boxes(recording.ragged["detections"], recording.frames, "imu")
    assert found.channels[7:] == ("class", "score") and found.frame == "imu"


def test_what_is_missing_is_named(tmp_path):
    recording = read_tracking(kitti.fake(tmp_path), "0000", lidar=False)
    with pytest.raises(DataError, match="the boxes have no h, w, l, x, y, z, yaw"):
        upright_boxes(recording.ragged["detections_2d"], recording.frames)
    with pytest.raises(ValueError, match="no frame 'base_link'"):
        upright_boxes(recording.ragged["labels"], recording.frames, "base_link")


def test_points_lie_in_the_boxes_of_the_real_frame(data_root):
    recording = read_object(data_root / "fusion/kitti_frame", "000001")
    boxes, points = (
        upright_boxes(recording.ragged["labels"], recording.frames),
        recording.ragged["lidar"].table(0)[:, :3],
    )
    counts = []
    for row in boxes.values:
        turn = np.array([[np.cos(row[6]), -np.sin(row[6])], [np.sin(row[6]), np.cos(row[6])]])
        flat = (points[:, :2] - row[:2]) @ turn
        inside = (np.abs(flat) <= row[3:5] / 2).all(1) & (np.abs(points[:, 2] - row[2]) <= row[5] / 2)
        counts.append(int(inside.sum()))
    assert len(counts) == 3 and sum(counts) > 50, counts
