"""Tracks that a camera begins, and what becomes of them."""

import pytest
import torch

from mambats.track import (
    CameraEvidence,
    Picture,
    PictureClaims,
    PictureHeir,
    PictureSensor,
    PictureUpdater,
    ScoreCalibration,
    run_pictured,
    tell,
)
from mambats.track.picture_box import there
from mambats.track.picture_start import PictureStart
from mambats.track.projection import project
from tests.mambats.track.test_two_sensors import CAMERA, FRAMES, street, tracker, without


def start(**given: object) -> PictureStart:
    return PictureStart(size=[4.0, 1.7, 1.5], spread=[0.4, 0.1, 0.12], speed=[9.0, 2.0, 0.3], **given)  # pyright: ignore


def evidence(begins: PictureStart | None) -> CameraEvidence:
    alone = PictureUpdater(ScoreCalibration(4.0, 0.0), [[-1.5, 0.5]] * 4, existence=-3.0, repeats=2.0, start=begins)
    return CameraEvidence(0.0, 0.0, 0.0, 0.0, alone=alone, heir=PictureHeir(sure=3.0), claims=PictureClaims())


def told(begins: PictureStart | None, first: int = FRAMES, poses: torch.Tensor | None = None):
    """Tracks of a car that LiDAR sees from a frame on, and the camera always."""
    lidar, camera, truth = street()
    model = evidence(begins)
    joined = model(without(lidar, 0, first), camera)
    silent = torch.arange(FRAMES) < first
    history = run_pictured(
        tracker(), model, joined.detections, Picture(CAMERA), added=joined.added, silent=silent, poses=poses
    )
    return tell(history, joined.detections), truth


def test_the_camera_alone_begins_a_track_and_follows_it() -> None:
    assert not len(told(None)[0].boxes)
    tracks, truth = told(start())
    assert tracks.identity is not None and tracks.covariance is not None
    assert tracks.identity.tolist() == [0] * (FRAMES - 2)
    error = tracks.boxes[:, :2] - truth[tracks.frames, :2]
    away = truth[tracks.frames, :2].norm(dim=-1)
    assert float((error.norm(dim=-1) / away).max()) < 0.2
    # Honest (two numbers), and far more doubt along the ray than across.
    square = (error[:, None] @ torch.linalg.solve(tracks.covariance[:, :2, :2], error[..., None])).flatten()
    assert float(square.mean()) < 6
    assert bool((torch.linalg.eigvalsh(tracks.covariance) > 0).all())
    first = tracks.covariance[0]
    assert float(first[0, 0]) > 8 * float(first[1, 1])


def test_space_takes_a_track_over_that_the_camera_began() -> None:
    tracks, truth = told(start(), first=20)
    assert tracks.identity is not None
    assert tracks.identity.unique().tolist() == [0]
    late = tracks.frames >= 25
    assert float((tracks.boxes[late, :2] - truth[tracks.frames[late], :2]).norm(dim=-1).max()) < 0.5


def test_a_world_with_a_pose_begins_the_same() -> None:
    still = torch.tensor([30.0, -7.0, 1.0, 0.8]).double().repeat(FRAMES, 1)
    plain, posed = (told(start(), first=20, poses=poses)[0] for poses in (None, still))
    torch.testing.assert_close(plain.boxes, posed.boxes, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(plain.covariance, posed.covariance, atol=1e-6, rtol=1e-6)


def test_a_box_is_drawn_where_it_was_seen() -> None:
    truth = street()[2][::9]
    pixels = project(truth, Picture(CAMERA))
    noise = torch.eye(4).double().repeat(len(pixels), 1, 1)
    mean, covariance = start().placed(pixels, noise, PictureSensor(Picture(CAMERA)))
    again = project(mean[:, :7], Picture(CAMERA))
    torch.testing.assert_close(again[:, [1, 3]], pixels[:, [1, 3]], atol=0.5, rtol=0)
    assert float((mean[:, 0] / truth[:, 0] - 1).abs().max()) < 0.05
    # Height and distance go together: the taller the body the farther.
    assert bool((covariance[:, 0, 5] > 0).all())


def test_what_is_cut_or_flickers_begins_nothing() -> None:
    _, camera, _ = street()
    model = evidence(start(moments=3))
    empty = without(street()[0], 0, FRAMES)
    flickers = camera.take(camera.frames % 2 == 0)
    joined = model(empty, flickers)
    history = run_pictured(tracker(), model, joined.detections, Picture(CAMERA), added=joined.added)
    assert not len(history.frame)


def test_far_in_doubt_ranks_behind() -> None:
    mean = torch.tensor([[30.0, 0.0, 0.0, 4.0, 1.7, 1.5, 0.0]] * 3).double()
    covariance = torch.diag_embed(torch.tensor([[0.01] * 7, [4.0, *[0.01] * 6], [100.0, *[0.01] * 6]]).double())
    odds = there(torch.full((3,), 3.0).double(), mean, covariance)
    assert float(odds[0]) == pytest.approx(3.0, abs=1e-3)
    assert odds.tolist() == sorted(odds.tolist(), reverse=True)


def test_sizes_that_cannot_be_are_named() -> None:
    with pytest.raises(ValueError, match="three numbers above 0"):
        PictureStart([4.0, 1.7], [0.1] * 3, [1.0] * 3)
    with pytest.raises(ValueError, match="moments is 0"):
        start(moments=0)
