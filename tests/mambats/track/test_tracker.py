import math
from dataclasses import replace

import pytest
import torch

from mambats.track import ByHits, Mahalanobis, Nearest, SinglePass, tell
from mambats.track.ego import to_sensor
from tests.mambats.track.worlds import SIGMA, objects, straight, tracker


def test_bodies_keep_their_identities_and_errors_shrink() -> None:
    detections, truth = straight()
    told = tell(tracker().run(detections), detections)
    assert set(told.identity.tolist()) == {0, 1, 2}
    late = told.between(20, 30)
    error = late.boxes - truth[20:].reshape(-1, 7)
    assert float(error[:, :2].square().mean().sqrt()) < 0.6 * SIGMA


def test_covariance_is_that_of_the_errors() -> None:
    nis, nees = [], []
    for seed in range(6):
        detections, truth = straight(8, 40, seed)
        history = tracker().run(detections)
        nis.append(history.consistency().nis)
        told = tell(history, detections).between(20, 40)
        error = told.boxes - truth[20:].reshape(-1, 7)
        nees.append((error * torch.linalg.solve(told.covariance, error[..., None])[..., 0]).sum(-1))
    nis = torch.cat(nis)
    assert 0.85 < float(nis.mean()) / 7 < 1.1
    assert 0.92 < float(((nis > 1.69) & (nis < 16.01)).double().mean()) < 0.98
    assert 0.6 < float(torch.cat(nees).mean()) / 7 < 1.2


def test_a_gap_is_bridged_and_filled_with_hindsight() -> None:
    detections, truth = straight(1, 40)
    frames = [detections.boxes[k : k + 1] if k not in (20, 21, 22) else detections.boxes[:0] for k in range(40)]
    gappy = objects(frames)
    history = tracker().run(gappy)
    online, offline = tell(history, gappy), tell(history, gappy, "offline")
    assert online.splits.diff()[20:23].tolist() == [0, 0, 0]
    assert offline.splits.diff().tolist() == [1] * 40 and set(offline.identity.tolist()) == {0}
    error = (offline.boxes[20:23] - truth[20:23, 0])[:, :3]
    assert float(error.abs().max()) < 3 * SIGMA


def test_hindsight_leaves_out_what_was_confirmed_and_never_sure() -> None:
    detections, _ = straight(1, 40)
    short = objects([detections.boxes[k : k + 1] if k < 2 else detections.boxes[:0] for k in range(10)], score=2.0)
    history = tracker().run(short)
    assert tell(history, short).splits.diff()[:3].tolist() == [0, 1, 0]
    assert len(tell(history, short, "offline").boxes) == len(tell(history, short, "fixed-lag", 0.5).boxes) == 0


def test_fixed_lag_waits_and_knows_nothing_later() -> None:
    detections, _ = straight(2, 40, seed=3)
    lag = 0.5
    whole = tell(tracker().run(detections), detections, "fixed-lag", lag)
    cut = detections.between(0, 26)
    part = tell(tracker().run(cut), cut, "fixed-lag", lag)
    assert torch.equal(whole.between(0, 21).boxes, part.between(0, 21).boxes)
    assert torch.equal(whole.between(0, 21).splits, part.between(0, 21).splits)
    assert not torch.allclose(whole.between(25, 26).boxes, part.between(25, 26).boxes)


def test_hindsight_is_nearer_to_the_truth() -> None:
    errors = {"online": [], "fixed-lag": [], "offline": []}
    for seed in range(5):
        detections, truth = straight(6, 40, seed)
        history = tracker().run(detections)
        for mode, found in errors.items():
            told = tell(history, detections, mode).between(5, 35)
            found.append((told.boxes - truth[5:35].reshape(-1, 7))[:, :2])
    online, lagged, offline = (torch.cat(e).square().mean().sqrt() for e in errors.values())
    assert offline <= lagged * 1.01 and lagged < 0.8 * online


def test_an_endless_lag_is_offline() -> None:
    detections, _ = straight(2, 30)
    history = tracker().run(detections)
    lagged, offline = tell(history, detections, "fixed-lag", 1e6), tell(history, detections, "offline")
    torch.testing.assert_close(lagged.boxes, offline.boxes, rtol=0, atol=1e-10)
    torch.testing.assert_close(lagged.covariance, offline.covariance, rtol=0, atol=1e-10)


def test_low_scores_alone_begin_nothing() -> None:
    detections, _ = straight(2, 20)
    assert len(tell(tracker().run(replace(detections, score=detections.score - 5)), detections).boxes) == 0


def test_clutter_is_not_told_of() -> None:
    random = torch.Generator().manual_seed(0)
    boxes = [torch.rand(4, 7, generator=random).double() * torch.tensor([80.0, 80, 1, 4, 2, 2, 3]) for _ in range(50)]
    found = objects(boxes, score=-0.5)
    assert len(tell(tracker().run(found), found).boxes) < 8


def test_turned_about_detections_do_not_turn_the_track() -> None:
    detections, _ = straight(1, 30)
    boxes = detections.boxes.clone()
    boxes[:, 6] += 0.5
    boxes[2::4, 6] += math.pi
    boxes[1::4, 6] -= 2 * math.pi
    told = tell(tracker().run(replace(detections, boxes=boxes)), detections).between(5, 30)
    assert float((told.boxes[:, 6] - 0.5).abs().max()) < 3 * SIGMA


def test_a_track_that_swerves_is_caught() -> None:
    detections, truth = straight(1, 30)
    boxes = detections.boxes.clone()
    boxes[20:, 1] += 2.0
    far = Mahalanobis(math.inf, 5.0)
    swerved = replace(detections, boxes=boxes)
    at = {}
    for surprise in (None, 20.0):
        one = tracker(surprise, associator=SinglePass(far, Nearest()))
        told = tell(one.run(swerved), swerved).between(21, 22)
        at[surprise] = float((told.boxes[0, 1] - truth[21, 0, 1] - 2.0).abs())
    assert at[20.0] < 0.5 * at[None]


def test_frames_may_come_at_any_gap() -> None:
    detections, truth = straight(2, 60)
    kept = torch.tensor([k for k in range(60) if k % 7 not in (2, 3, 5)])
    rows = torch.stack([2 * kept, 2 * kept + 1], -1).flatten()
    thinned = objects(list(detections.boxes[rows].reshape(-1, 2, 7)))
    thinned = replace(thinned, stamps=detections.stamps[kept])
    told = tell(tracker().run(thinned), thinned)
    assert set(told.identity.tolist()) == {0, 1}
    error = told.between(20, len(kept)).boxes - truth[kept[20:]].reshape(-1, 7)
    assert float(error[:, :2].abs().max()) < 4 * SIGMA


def test_a_moving_sensor_with_its_pose_sees_a_still_world() -> None:
    detections, _ = straight(3, 30)
    poses = torch.zeros(30, 4).double()
    poses[:, 0], poses[:, 3] = 0.9 * torch.arange(30), 0.02 * torch.arange(30)
    seen = to_sensor(detections, poses)
    still = tell(tracker().run(detections), detections)
    moved = tell(tracker().run(seen, poses), seen)
    assert torch.equal(moved.identity, still.identity)
    torch.testing.assert_close(moved.boxes, to_sensor(still, poses).boxes, rtol=0, atol=1e-8)
    torch.testing.assert_close(moved.covariance.diagonal(dim1=1, dim2=2).sum(-1),
                               still.covariance.diagonal(dim1=1, dim2=2).sum(-1))  # fmt: skip


def test_nothing_seen_is_nothing_told() -> None:
    empty = objects([torch.zeros(0, 7).double()] * 3)
    assert len(tell(tracker().run(empty), empty, "offline").boxes) == 0
    none = objects([torch.zeros(0, 7).double()]).between(0, 0)
    assert len(tell(tracker().run(none), none)) == 0


def test_counting_confirms_after_so_many() -> None:
    detections, _ = straight(1, 10)
    told = tell(tracker(confirmer=ByHits(3)).run(detections), detections)
    assert told.splits.diff().tolist() == [0, 0, *[1] * 8]


def test_what_is_not_finite_is_named() -> None:
    detections, _ = straight(1, 4)
    boxes = detections.boxes.clone()
    boxes[2, 1] = math.nan
    with pytest.raises(ValueError, match="not finite"):
        tracker().run(replace(detections, boxes=boxes))
    with pytest.raises(ValueError, match="one of online, fixed-lag, offline"):
        tell(tracker().run(detections), detections, "later")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="a pose|yaw a frame"):
        tracker().run(detections, torch.zeros(3, 4))
    model, state = tracker(), tracker().init_state()
    first, _ = model.detector(detections)
    state, _ = model.step(state, 5, first)
    with pytest.raises(ValueError, match="order of time"):
        model.step(state, 5, first)
