"""A camera's box belongs to one body: the one whose track it followed."""

from dataclasses import replace

import pytest
import torch

from mambats.track import (
    CameraEvidence,
    Objects,
    Picture,
    PictureClaims,
    PictureUpdater,
    ScoreCalibration,
    run_pictured,
    tell,
)
from mambats.track.ego_path import EgoPath
from mambats.track.projection import project
from tests.mambats.track.test_two_sensors import CAMERA, FRAMES, street, tracker, without


def ghosts(begin: int, end: int) -> tuple[Objects, Objects]:
    """A car that the camera sees always; LiDAR sees a ghost a third farther on its ray in its place for some frames."""
    lidar, camera, _ = street()
    boxes = lidar.boxes.clone()
    boxes[begin:end, :3] *= 1.35
    drawn = project(boxes, Picture(CAMERA))
    # The ghost looks more like the camera's box than anything else.
    pixels = torch.where((boxes == lidar.boxes).all(-1, keepdim=True), drawn, camera.pixels)
    return replace(lidar, boxes=boxes, pixels=pixels), camera


def evidence(claims: PictureClaims | None) -> CameraEvidence:
    alone = PictureUpdater(ScoreCalibration(4.0, 0.0), [[-1.5, 0.5]] * 4, existence=-3.0)
    return CameraEvidence(0.0, 4.0, 0.0, -6.0, alone=alone, claims=claims)


def names_told(claims: PictureClaims | None) -> list[int]:
    lidar, camera = ghosts(20, 22)
    model = evidence(claims)
    joined = model(lidar, camera)
    history = run_pictured(tracker(), model, joined.detections, Picture(CAMERA), added=joined.added)
    told = tell(history, joined.detections)
    assert told.identity is not None
    return told.identity.tolist()


def test_a_track_keeps_its_box_where_a_ghost_lies_over_it() -> None:
    assert len(set(names_told(None))) > 1
    assert names_told(PictureClaims()) == [0] * FRAMES


def test_a_detection_that_a_track_may_take_has_its_box_and_is_told_with_it() -> None:
    lidar, camera, _ = street()
    model = evidence(PictureClaims())
    joined = model(lidar, camera)
    assert len(joined.detections.boxes) == 2 * FRAMES
    assert joined.added[::2].tolist() == [-6.0] * FRAMES
    history = run_pictured(tracker(), model, joined.detections, Picture(CAMERA), added=joined.added)
    told = tell(history, joined.detections)
    assert told.pixels is not None
    assert torch.equal(told.pixels, camera.pixels)
    # Both sensors in space: the odds told are those of the camera's word.
    assert history.tracks.odds.tolist() == pytest.approx([4.0 + 4.0] * FRAMES)


def test_who_was_long_unseen_in_space_claims_nothing() -> None:
    lidar, camera = ghosts(25, FRAMES)
    lidar = without(lidar, 10, 25)
    for most, names in ((0.5, 2), (3.0, 1)):
        model = evidence(PictureClaims(most=most))
        joined = model(lidar, camera)
        history = run_pictured(tracker(), model, joined.detections, Picture(CAMERA), added=joined.added)
        told = tell(history, joined.detections)
        assert told.identity is not None
        assert len(told.identity.unique()) == names


def test_a_world_with_a_pose_claims_the_same() -> None:
    lidar, camera = ghosts(20, 22)
    model = evidence(PictureClaims())
    joined = model(lidar, camera)
    still = torch.tensor([30.0, -7.0, 1.0, 0.8]).double().repeat(FRAMES, 1)
    told = [
        tell(run_pictured(tracker(), model, joined.detections, Picture(CAMERA), added=joined.added, poses=poses),
             joined.detections)
        for poses in (None, still)
    ]  # fmt: skip
    torch.testing.assert_close(told[0].boxes, told[1].boxes, atol=1e-6, rtol=1e-6)
    assert torch.equal(told[0].identity, told[1].identity)


def test_frames_without_boxes_or_detections_are_none_to_claim() -> None:
    lidar, camera, _ = street()
    model = evidence(PictureClaims())
    for found, seen in (
        (without(lidar, 5, 9), camera),
        (lidar, without(camera, 5, 9)),
        (without(lidar, 0, 40), camera),
    ):
        joined = model(found, seen)
        history = run_pictured(tracker(), model, joined.detections, Picture(CAMERA), added=joined.added)
        assert len(history.frames) == FRAMES
        assert bool(history.tracks.mean.isfinite().all())


def test_overlaps_of_nothing_are_named() -> None:
    with pytest.raises(ValueError, match="overlaps above 0"):
        PictureClaims(least=0.0)
    with pytest.raises(ValueError, match="overlaps above 0"):
        PictureClaims(gate=0.0)


def test_the_cameras_word_is_heard_before_a_detection_is_left_out() -> None:
    lidar, camera, _ = street()
    one = tracker()
    one.detector.least = 3.0  # 4 less 6 without the camera, 4 and 4 with it
    model = evidence(PictureClaims())
    joined = model(lidar, camera)
    zero = torch.zeros(FRAMES).double()
    still = EgoPath(zero[:, None].repeat(1, 4), torch.zeros(FRAMES, 3, 3).double(), zero, lidar.stamps)
    for follower in (one, still.doubted(one)):
        history = run_pictured(
            follower, model, joined.detections, Picture(CAMERA), added=joined.added, poses=still.poses
        )
        assert history.consistency().row.tolist() == list(range(2, 2 * FRAMES, 2))
