"""Boxes in space and boxes in the picture in one filter."""

import pytest
import torch

from mambats.track import (
    BoxNoise,
    ByExistence,
    CameraEvidence,
    ConstantVelocity,
    Deleter,
    Detector,
    Existence,
    Hungarian,
    Initiator,
    Mahalanobis,
    Objects,
    PictureHeir,
    PictureSensor,
    PictureUpdater,
    Predictor,
    ScoreCalibration,
    SinglePass,
    Tracker,
    Updater,
    run_pictured,
    tell,
)  # fmt: skip
from mambats.track.objects import splits_of
from mambats.track.projection import Picture, project
from mambats.track.telling import confidence

CAMERA = torch.tensor([[700.0, 0.0, 610.0, 40.0], [0.0, 700.0, 180.0, 0.2], [0.0, 0.0, 1.0, 0.003]]).double()
FRAMES, STEP = 40, 100_000_000


def tracker() -> Tracker:
    return Tracker(
        Detector(BoxNoise([[-2.0]] * 7)), Predictor(ConstantVelocity([0.5, 0.5, 0.1], [0.02, 0.02, 0.02, 0.05])),
        SinglePass(Mahalanobis(30.0), Hungarian()), Updater(Existence(seen=0.5)), Initiator([4.0, 4.0, 0.3]),
        Deleter(-4.0, silence=1.5), ByExistence(0.0),
    )  # fmt: skip


def evidence(**given: object) -> CameraEvidence:
    alone = PictureUpdater(ScoreCalibration(4.0, 0.0), [[-1.5, 0.5]] * 4, existence=-3.0)
    return CameraEvidence(0.0, 0.0, 0.0, 0.0, alone=alone, **given)


def street(seed: int = 0) -> tuple[Objects, Objects, torch.Tensor]:
    """A car that drives away at 8 m/s to the left: what LiDAR and camera say of it, and where it is."""
    draw = torch.Generator().manual_seed(seed)
    time = torch.arange(FRAMES) / 10
    truth = torch.tensor([12.0, -4.0, -0.8, 4.0, 1.7, 1.5, 0.1]).double().repeat(FRAMES, 1)
    truth[:, 0] += 8 * time
    truth[:, 1] += 0.8 * time
    boxes = truth + 0.1 * torch.randn(FRAMES, 7, generator=draw).double()
    pixels = project(truth, Picture(CAMERA))
    seen = pixels + 1.0 * torch.randn(FRAMES, 4, generator=draw).double()
    one, label = torch.ones(FRAMES).double(), torch.zeros(FRAMES, dtype=torch.int64)
    at = torch.arange(FRAMES) * STEP, splits_of([1] * FRAMES)
    lidar = Objects(*at, boxes, label, ("Car",), 4 * one, pixels=project(boxes, Picture(CAMERA)))
    return lidar, Objects(*at, boxes * torch.nan, label, ("Car",), one, pixels=seen), truth


def without(objects: Objects, begin: int, end: int) -> Objects:
    return objects.take((objects.frames < begin) | (objects.frames >= end))


def test_the_slopes_of_the_projection_are_those_of_automatic_differentiation() -> None:
    states = torch.nn.functional.pad(street()[2][::13], (0, 3))
    sensor = PictureSensor(Picture(CAMERA))
    exact = torch.autograd.functional.jacobian(sensor, states)
    same = torch.arange(len(states))
    torch.testing.assert_close(sensor.jacobian(states), exact[same, :, same], atol=1e-4, rtol=1e-5)


def test_a_track_lives_on_in_the_picture_where_space_is_silent() -> None:
    lidar, camera, truth = street()
    model = evidence()
    joined = model(without(lidar, 15, FRAMES), camera)
    alone = tell(tracker().run(joined.detections, added=joined.added), joined.detections)
    both = tell(
        run_pictured(tracker(), model, joined.detections, Picture(CAMERA), added=joined.added), joined.detections
    )
    assert int(alone.frames.max()) == 14
    assert both.frames.tolist() == list(range(FRAMES))
    assert both.identity.unique().tolist() == [0]
    error = both.boxes[:, :2] - truth[both.frames, :2]
    away = truth[-1, :2].norm()
    assert float(error[-1].norm() / away) < 0.1
    # Honest covariances: the place lies within them, and they grow where depth is seen by size alone.
    spread = both.covariance[:, :2, :2]
    assert float((error[:, None] @ torch.linalg.solve(spread, error[..., None])).mean()) < 2 * 2.5
    assert float(spread[-1].trace()) > float(spread[14].trace())
    assert bool((torch.linalg.eigvalsh(both.covariance) > 0).all())


def test_sensors_have_frames_of_their_own() -> None:
    lidar, camera, truth = street()
    even = torch.arange(FRAMES) % 2 == 0
    model = evidence()
    joined = model(lidar.take(even), camera.take(~even))
    history = run_pictured(tracker(), model, joined.detections, Picture(CAMERA), added=joined.added, silent=~even)
    told = tell(history, joined.detections)
    assert told.frames.tolist() == list(range(FRAMES))
    assert float((told.boxes[-5:, :2] - truth[-5:, :2]).norm(dim=-1).max()) < 0.7


def test_a_world_with_a_pose_says_the_same() -> None:
    lidar, camera, _ = street()
    model = evidence()
    joined = model(without(lidar, 15, 25), camera)
    still = torch.tensor([30.0, -7.0, 1.0, 0.8]).double().repeat(FRAMES, 1)
    told = [
        tell(
            run_pictured(tracker(), model, joined.detections, Picture(CAMERA), added=joined.added, poses=poses),
            joined.detections,
        )
        for poses in (None, still)
    ]
    torch.testing.assert_close(told[0].boxes, told[1].boxes, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(told[0].covariance, told[1].covariance, atol=1e-6, rtol=1e-6)


def test_a_jump_in_depth_keeps_its_identity_with_an_heir() -> None:
    lidar, _, _ = street()
    boxes = lidar.boxes.clone()
    boxes[20:, :2] *= 1.1  # 2.8 m and more: no pair for a filter that knows the place by 0.1 m
    jumped = Objects(lidar.stamps, lidar.splits, boxes, lidar.labels, lidar.classes, lidar.score, pixels=lidar.pixels)
    names = []
    for heir in (None, PictureHeir(least=0.4)):
        model = CameraEvidence(0.0, 0.0, 0.0, 0.0, heir=heir)
        told = tell(run_pictured(tracker(), model, jumped, Picture(CAMERA)), jumped)
        names.append(len(told.identity.unique()))
    assert names == [2, 1]


def test_without_parts_of_the_camera_it_is_the_tracker() -> None:
    lidar, _, _ = street()
    plain = run_pictured(tracker(), CameraEvidence(0.0, 0.0, 0.0, 0.0), lidar, Picture(CAMERA))
    assert torch.equal(tell(plain, lidar).boxes, tell(tracker().run(lidar), lidar).boxes)


def test_what_cannot_be_is_named() -> None:
    lidar, _, _ = street()
    bare = Objects(lidar.stamps, lidar.splits, lidar.boxes, lidar.labels, lidar.classes, lidar.score)
    with pytest.raises(ValueError, match="no pixels or no scores"):
        run_pictured(tracker(), evidence(), bare, Picture(CAMERA))
    with pytest.raises(ValueError, match="needed one a frame"):
        run_pictured(tracker(), evidence(), lidar, Picture(CAMERA), silent=torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="four pairs"):
        PictureUpdater(ScoreCalibration(), [[0.0, 0.0]] * 3)


def test_a_score_is_existence_and_the_last_detection() -> None:
    lidar, _, _ = street()
    history = tracker().run(lidar)
    last = history.tracks.detection
    odds = tracker().detector(lidar)[0].odds[last]
    assert torch.equal(confidence(history.tracks), history.tracks.existence + odds)
    told = tell(history, lidar, "offline")
    assert told.score is not None and told.identity is not None
    assert set(told.score.tolist()) <= set(confidence(history.tracks).tolist())
