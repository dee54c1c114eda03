"""How often detections of a sequence are true: estimated as they come, and carried with the tracker's state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from mambats.streaming.engine import StepEvent
from mambats.streaming.engines.frame import DETECTIONS, pack_frame
from mambats.streaming.engines.tracker import TrackerEngine
from mambats.track import (
    BaseRate,
    BoxNoise,
    ByExistence,
    CameraEvidence,
    ConstantVelocity,
    Deleter,
    Detector,
    Existence,
    Hungarian,
    Initiator,
    LateFrames,
    Mahalanobis,
    Objects,
    Picture,
    Predictor,
    ScoreCalibration,
    SinglePass,
    Tracker,
    Updater,
    run_pictured,
    tell,
)

TRAINED = 0.25


def tracker(rate: BaseRate | None) -> Tracker:
    """Return a tracker whose score is a log odds."""
    return Tracker(
        Detector(BoxNoise([[-2.0]] * 7), ScoreCalibration(1.0, 0.0)),
        Predictor(ConstantVelocity([1.0, 1.0, 0.1], [0.1, 0.1, 0.1, 0.1])),
        SinglePass(Mahalanobis(25.0, 3.0), Hungarian()),
        Updater(Existence(0.8, 0.05, -1.0)),
        Initiator([3.0, 3.0, 0.1], doubt=1.0),
        Deleter(silence=1.0),
        ByExistence(0.0),
        rate,
    )


def crowd(frames: int = 30, bodies: int = 6, seed: int = 0) -> Objects:
    """Return bodies standing apart, each detected at most frames with middling scores."""
    made = torch.Generator().manual_seed(seed)
    boxes, counts, scores = list[Tensor](), list[int](), list[Tensor]()
    for _ in range(frames):
        there = torch.rand(bodies, generator=made) < 0.8
        place = torch.stack([torch.full((bodies,), 10.0), 4.0 * torch.arange(bodies), torch.zeros(bodies)], -1)
        place = place + 0.05 * torch.randn(bodies, 3, generator=made)
        size = torch.tensor([0.8, 0.6, 1.7, 0.0]).expand(bodies, 4)
        boxes.append(torch.cat([place, size], -1)[there])
        scores.append(0.3 * torch.randn(bodies, generator=made)[there])
        counts.append(int(there.sum()))
    splits = torch.nn.functional.pad(torch.tensor(counts).cumsum(0), (1, 0))
    stamps = torch.arange(frames) * 100_000_000
    labels = torch.zeros(int(splits[-1]), dtype=torch.int64)
    return Objects(stamps, splits, torch.cat(boxes), labels, ("Pedestrian",), torch.cat(scores))


def drawn(share: float, count: int, seed: int) -> Tensor:
    """Return log odds at the trained rate of detections of which a share is true: scores N(+-1.5, 1)."""
    made = torch.Generator().manual_seed(seed)
    true = torch.rand(count, generator=made) < share
    score = torch.where(true, 1.5, -1.5) + torch.randn(count, generator=made)
    return (3.0 * score + np.log(TRAINED / (1 - TRAINED))).double()


@pytest.mark.parametrize("share", [0.25, 0.6, 0.9])
def test_finds_the_share_of_true_detections(share: float) -> None:
    rate = BaseRate(TRAINED, weight=20.0, memory=1e9)
    counts = rate.init_state()
    for odds in drawn(share, 4000, 1).split(8):
        _, counts = rate(odds, counts, 0.1)
    found = float(torch.sigmoid(rate.added(counts) + np.log(TRAINED / (1 - TRAINED))))
    assert found == pytest.approx(share, abs=0.03)


def test_starts_and_stays_at_the_trained_rate_where_little_is_true() -> None:
    rate = BaseRate(TRAINED)
    odds, counts = rate(torch.full((30,), -4.0), rate.init_state(), 0.1)
    assert torch.equal(odds, torch.full((30,), -4.0))
    assert float(counts[0, 1]) > 29


def test_forgets() -> None:
    rate = BaseRate(TRAINED, memory=10.0)
    _, counts = rate(torch.full((100,), 3.0), rate.init_state(), 0.1)
    assert float(rate.added(counts)) > 1.5
    _, later = rate(torch.zeros(0), counts, 3600.0)
    assert float(rate.added(later)) == pytest.approx(0.0, abs=1e-9)


def test_is_bounded() -> None:
    rate = BaseRate(TRAINED, memory=1e9, most=2.0)
    raised, _ = rate(torch.full((100_000,), 9.0), rate.init_state(), 0.1)
    assert float(raised[0]) == 11.0


def test_scenes_do_not_see_each_other() -> None:
    rate, made = BaseRate(TRAINED), torch.Generator().manual_seed(3)
    odds = torch.randn(12, generator=made).double()
    scene = torch.tensor([0] * 5 + [2] * 7)
    both, counts = rate(odds, rate.init_state(3), torch.tensor([0.1, 0.2, 0.3]), scene)
    first, one = rate(odds[:5], rate.init_state(), 0.1)
    last, two = rate(odds[5:], rate.init_state(), 0.3)
    torch.testing.assert_close(both, torch.cat([first, last]), rtol=0, atol=1e-12)
    torch.testing.assert_close(counts, torch.cat([one, torch.zeros(1, 2).double(), two]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("given", [(0.0,), (1.0,), (0.5, 0.0), (0.5, 1.0, 0.0), (0.5, 1.0, 1.0, -1.0)])
def test_refuses(given: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="needed a share"):
        BaseRate(*given)


def test_tells_of_a_crowd_earlier_and_of_a_quiet_street_as_before() -> None:
    seen, rate = crowd(), BaseRate(0.1, weight=20.0)
    with_rate, without = tell(tracker(rate).run(seen), seen), tell(tracker(None).run(seen), seen)
    assert len(with_rate.boxes) > len(without.boxes)
    quiet = Objects(seen.stamps, seen.splits, seen.boxes, seen.labels, seen.classes, torch.full_like(seen.score, -5.0))
    with_rate, without = tell(tracker(rate).run(quiet), quiet), tell(tracker(None).run(quiet), quiet)
    assert torch.equal(with_rate.boxes, without.boxes)


def test_a_track_keeps_the_odds_of_its_detection_as_its_score_says() -> None:
    seen, model = crowd(), tracker(BaseRate(0.1, weight=20.0))
    history = model.run(seen)
    taken = history.tracks.take(history.tracks.misses == 0)
    assert seen.score is not None
    torch.testing.assert_close(taken.odds, seen.score[taken.detection].double(), rtol=0, atol=1e-12)


def test_what_comes_later_changes_nothing() -> None:
    seen, rate = crowd(), BaseRate(0.1)
    whole, part = tracker(rate).run(seen), tracker(rate).run(seen.between(0, 10))
    for one, other in zip(part.frames, whole.frames[:10], strict=True):
        assert torch.equal(one.tracks.existence, other.tracks.existence)


def test_many_scenes_are_followed_as_each_alone() -> None:
    scenes, model = [crowd(20, 6, 1), crowd(12, 1, 2), crowd(25, 3, 3)], tracker(BaseRate(0.1))
    for one, other in zip(model.run_many(scenes), [model.run(scene) for scene in scenes], strict=True):
        assert torch.equal(one.tracks.identity, other.tracks.identity)
        torch.testing.assert_close(one.tracks.existence, other.tracks.existence, rtol=0, atol=1e-10)
        assert torch.equal(one.shown, other.shown)


def test_late_frames_end_as_sorted_ones() -> None:
    seen, model = crowd(12), tracker(BaseRate(0.1))
    found, splits = model.detector(seen)
    parts = found.split(np.diff(splits).tolist())
    late = LateFrames(model, 10_000_000_000)
    for at in (0, 1, 2, 5, 3, 4, 6, 9, 8, 7, 11, 10):
        late.push(int(seen.stamps[at]), parts[at])
    run = model.run(seen)
    assert late.state.rate is not None
    for one, other in zip(late.frames, run.frames, strict=True):
        assert torch.equal(one.tracks.existence, other.tracks.existence)


def test_streams_as_it_runs() -> None:
    seen, model = crowd(), tracker(BaseRate(0.1))
    seen = Objects(seen.stamps, seen.splits, seen.boxes.float(), seen.labels, seen.classes, seen.score.float())
    engine, told = TrackerEngine(model, most=8, room=16), tell(model.run(seen), seen)
    state = engine.init_state(1)
    for f in range(len(seen)):
        rows = slice(int(seen.splits[f]), int(seen.splits[f + 1]))
        packet = pack_frame(seen.boxes[rows].numpy(), seen.score[rows].numpy(), 8)[None]
        event = StepEvent(packet, np.ones_like(packet, np.bool_), np.ones(1, np.bool_))
        before, elapsed = {name: array.copy() for name, array in state.items()}, np.array([100_000_000 if f else 0])
        out, state = engine.step({DETECTIONS: event}, elapsed, state)
        again, _ = engine.step({DETECTIONS: event}, elapsed, before)  # the state holds all, and was not written to
        assert all(np.array_equal(out[name], again[name]) for name in out)
        rows = slice(int(told.splits[f]), int(told.splits[f + 1]))
        count = int(out["count"][0])
        assert out["identity"][0, :count].tolist() == told.identity[rows].tolist()
        np.testing.assert_allclose(out["score"][0, :count], told.score[rows].numpy(), atol=1e-9)


def test_counts_fade_while_the_sensor_in_space_is_silent() -> None:
    seen, rate = crowd(20), Watched(0.1, weight=20.0, memory=0.5)
    rate.waited = []
    pixels = torch.tensor([10.0, 10.0, 30.0, 60.0]).expand(len(seen.boxes), 4)
    seen, silent = replace(seen, pixels=pixels), torch.arange(20) < 0
    picture = Picture(torch.tensor([[700.0, 0, 600, 0], [0, 700, 180, 0], [0, 0, 1, 0]]), (1242.0, 375.0))
    model, evidence = tracker(rate), CameraEvidence(0.0, 0.0, 0.0, 0.0)
    alike = run_pictured(model, evidence, seen, picture, silent=silent)
    for one, other in zip(alike.frames, model.run(seen).frames, strict=True):
        assert torch.equal(one.tracks.existence, other.tracks.existence)
    quiet = torch.arange(20) >= 15
    after = run_pictured(model, evidence, seen.take(~quiet[seen.frames]), picture, silent=quiet)
    assert torch.equal(after.frames[14].tracks.existence, alike.frames[14].tracks.existence)
    assert sum(rate.waited) == pytest.approx(1.9 * 3)  # three runs, all time counted, silent or not


class Watched(BaseRate):
    """Writes down for how long counts faded."""

    waited: list[float]

    def faded(self, counts: Tensor, elapsed: float | Tensor) -> Tensor:
        self.waited.append(float(elapsed))
        return super().faded(counts, elapsed)
