from dataclasses import replace

import pytest
import torch

from mambats.track import CameraEvidence, Objects, PictureUpdater, ScoreCalibration
from mambats.track.objects import splits_of


def seen(pixels: list[list[list[float]]], score: float) -> Objects:
    """Boxes in the picture, frame by frame, of one class; in space they stand somewhere."""
    flat = torch.tensor([box for frame in pixels for box in frame]).double().reshape(-1, 4)
    count = len(flat)
    return Objects(
        torch.arange(len(pixels)) * 100_000_000, splits_of([len(f) for f in pixels]), torch.ones(count, 7).double(),
        torch.zeros(count, dtype=torch.int64), ("Car",), torch.full((count,), score).double(), pixels=flat,
    )  # fmt: skip


LIDAR = seen([[[0, 0, 10, 10], [50, 0, 60, 10]], [], [[0, 0, 10, 10]]], 4.0)
CAMERA = seen([[[1, 0, 11, 10]], [[0, 0, 10, 10]], [[30, 0, 40, 10]]], 0.5)


def test_what_both_see_is_surer_and_takes_the_cameras_box() -> None:
    both = CameraEvidence(own=-0.1, seen=1.0, slope=2.0, unseen=-1.0)(LIDAR, CAMERA)
    assert both.added.tolist() == pytest.approx([-0.4 + 1.0 + 1.0, -0.4 - 1.0, -0.4 - 1.0])
    assert both.detections.pixels[:, 0].tolist() == [1.0, 50.0, 0.0]
    assert torch.equal(both.detections.score, LIDAR.score)


def test_one_box_in_the_picture_seconds_one_detection() -> None:
    twice = seen([[[0, 0, 10, 10], [1, 0, 11, 10]]], 4.0)
    both = CameraEvidence(0.0, 1.0, 0.0, -1.0)(twice, seen([[[1, 0, 11, 10]]], 0.5))
    assert both.added.tolist() == [-1.0, 1.0]


def test_a_blind_camera_seconds_nothing() -> None:
    both = CameraEvidence(0.0, 1.0, 0.0, -1.0)(LIDAR, seen([[], [], []], 0.5))
    assert both.added.tolist() == [-1.0] * 3
    assert torch.equal(both.detections.pixels, LIDAR.pixels)


def test_what_does_not_fit_is_named() -> None:
    model = CameraEvidence(0.0, 1.0, 0.0, -1.0)
    with pytest.raises(ValueError, match="3 frames of detections, 2 of the camera"):
        model(LIDAR, CAMERA.between(0, 2))
    with pytest.raises(ValueError, match="no pixels or no scores"):
        model(LIDAR, replace(CAMERA, score=None))


def test_what_only_the_camera_saw_stands_behind_the_detections_of_its_frame() -> None:
    alone = PictureUpdater(ScoreCalibration(4.0, 0.0), [[0.0, 0.0]] * 4)
    both = CameraEvidence(-0.1, 1.0, 2.0, -1.0, alone=alone)(LIDAR, CAMERA)
    assert both.detections.splits.tolist() == [0, 2, 3, 5]
    assert both.detections.boxes.isnan().all(-1).tolist() == [False, False, True, False, True]
    assert both.detections.pixels[2].tolist() == [0.0, 0.0, 10.0, 10.0]
    assert both.added.tolist() == pytest.approx([1.6, -1.4, 0.0, -1.4, 0.0])
    assert both.detections.score.tolist() == [4.0, 4.0, 0.5, 4.0, 0.5]
