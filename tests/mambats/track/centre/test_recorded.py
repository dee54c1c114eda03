"""Sweeps of recordings, as KITTI's and nuScenes's look."""

import math

import numpy as np
import pytest
import torch

from mambats.formats.error import DataError
from mambats.series import RaggedStream, Recording
from mambats.track.centre import RecordedSweeps

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
    made = RecordedSweeps(Two(), NAMES, turn=-math.pi / 2, bright=255.0, raised=0.1).sweeps()
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
