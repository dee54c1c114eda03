"""Sweeps of recordings, as KITTI's and nuScenes's look."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from mambats.formats.error import DataError
from mambats.series import FrameTree, ImageStream, RaggedStream, Recording, Rigid
from mambats.track.centre import RecordedPicture, RecordedSweeps, Seat

NAMES = {"Car": "car", "Pedestrian": "pedestrian"}
BOX = ("x", "y", "z", "l", "w", "h", "yaw", "class")


def stream(tables, channels, labels=None):
    splits = np.cumsum([0, *map(len, tables)]).astype(np.int64)
    stamps = np.arange(len(tables), dtype=np.int64) * 10**8
    return RaggedStream(
        stamps, splits, np.concatenate(tables).astype(np.float64), channels, frame="lidar", labels=labels or {}
    )


class Two:
    """One recording of two sweeps, labelled."""

    name = "two"

    def __init__(self, points=("x", "y", "z", "intensity"), labelled=True):
        self.points, self.labelled = points, labelled

    def recordings(self):
        sweeps = [np.array([[1.0, 2.0, 3.0, 51.0]]), np.array([[4.0, 5.0, 6.0, 510.0], [7.0, 8.0, 9.0, 0.0]])]
        ragged = {"lidar": stream([sweep[:, : len(self.points)] for sweep in sweeps], self.points)}
        if self.labelled:
            boxes = [np.array([[10.0, 1.0, 0.5, 4.0, 2.0, 1.5, 0.1, 1.0], [1, 1, 1, 1, 1, 1, 0, 0]]), np.zeros((0, 8))]
            ragged["labels"] = stream(boxes, BOX, {"class": ("Tram", "Car")})
        return [Recording("one", {}, ragged=ragged)]


def test_points_and_boxes_are_turned_straight_ahead():
    made = RecordedSweeps(Two(), NAMES, seat=Seat(-math.pi / 2, 255.0, 0.1)).sweeps()
    torch.testing.assert_close(made.points[0, 0], torch.tensor([2.0, -1.0, 3.1, 0.2]))
    assert made.points[0, 1].isnan().all() and made.points[1, 0, 3] == 1
    assert made.labels.tolist() == [[0], [-1]], "what no class is meant by is left out"
    torch.testing.assert_close(made.boxes[0, 0], torch.tensor([1.0, -10.0, 0.6, 4.0, 2.0, 1.5, 0.1 - math.pi / 2]))
    assert made.velocity[0].isnan().all()
    assert made.batch(torch.tensor([1]), (0, 1)).points[0, 2:].isnan().all(), "without poses nothing is laid over"


def test_recordings_without_labels_or_intensity_and_wrong_ones():
    made = RecordedSweeps(Two(("x", "y", "z"), labelled=False), NAMES).sweeps()
    assert made.labels.shape == (2, 0) and made.points[0, 0, 3] == 0
    with pytest.raises(DataError, match="has no sweep named 'radar'"):
        RecordedSweeps(Two(), NAMES, lidar="radar").sweeps()
    with pytest.raises(DataError, match="has no z"):
        RecordedSweeps(Two(("x", "y")), NAMES).sweeps()
    with pytest.raises(DataError, match="names lead to"):
        RecordedSweeps(Two(), {"Tram": "tram"})


class Seen(Two):
    """The same, with a camera that looks along the LiDAR's y axis, and one bright pixel where (4, 5, 6) falls."""

    def recordings(self):
        (made,) = super().recordings()
        turn = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])  # columns: the camera's axes in the LiDAR
        edge = np.eye(4)
        edge[:3, :3], edge[:3, 3] = turn, [0.5, 0.0, 0.2]
        lens = np.array([[40.0, 0, 99.5], [0, 40.0, 74.5], [0, 0, 1.0]])
        x, y, z = turn.T @ (np.array([4.0, 5.0, 6.0]) - edge[:3, 3])
        images = np.zeros((2, 150, 200, 3), dtype=np.uint8)
        column, row = round(40 * x / z + 99.5), round(40 * y / z + 74.5)
        images[1, row - 2 : row + 3, column - 2 : column + 3] = 250
        stream = ImageStream(np.arange(2, dtype=np.int64) * 10**8, list(images), "eye", lens)
        frames = FrameTree((Rigid.from_matrix("lidar", "eye", edge),))
        return [replace(made, images={"eye": stream}, frames=frames)]


def test_a_point_falls_on_its_pixel_after_cut_scale_and_turn():
    seat = Seat(-math.pi / 2, raised=0.1)
    made = RecordedSweeps(Seen(), NAMES, seat=seat, picture=RecordedPicture("eye", (60, 100))).sweeps()
    assert made.images.shape == (2, 1, 3, 60, 100) and made.projection.shape == (2, 1, 3, 4)
    u, v, depth = made.projection[1, 0] @ torch.nn.functional.pad(made.points[1, 0, :3], (0, 1), value=1.0)
    row, column = divmod(int(made.images[1, 0, 0].argmax()), 100)
    assert abs(float(u / depth) - column) <= 1 and abs(float(v / depth) - row) <= 1 and depth > 0
    assert made.images[0].max() == 0, "each sweep has its own picture"


def test_cameras_that_are_not_there_are_refused():
    with pytest.raises(DataError, match="no pictures 'nose'"):
        RecordedSweeps(Seen(), NAMES, picture=RecordedPicture("nose")).sweeps()
    with pytest.raises(DataError, match="at least one pixel"):
        RecordedPicture("eye", (0, 10))
    assert RecordedSweeps(Two(), NAMES, seat=Seat(near=5.0)).sweeps().points.isfinite().all(-1).sum(1).tolist() == [
        0,
        2,
    ]
    with pytest.raises(DataError, match="bright is 0"):
        Seat(bright=0)
