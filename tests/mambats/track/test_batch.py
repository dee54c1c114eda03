"""Many scenes at once are what each is alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mambats.track import (
    CentreDistance,
    ConstantTurn,
    Deleter,
    Greedy,
    History,
    Hungarian,
    Initiator,
    Mahalanobis,
    Objects,
    Predictor,
    SinglePass,
    Tracker,
    tell,
)
from mambats.track.association import Cascade
from tests.mambats.track.worlds import objects, tracker


def crowd(seed: int, frames: int, bodies: int = 12, side: float = 14.0) -> Objects:
    """Bodies that cross in a small square, seen four times in five, with false boxes, at gaps of their own."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=random).double()

    start = torch.cat([side * draw(bodies, 2), torch.tensor([[0.0, 4, 2, 1.5, 0]]).double().expand(bodies, -1)], -1)
    speed, gaps = 6 * (draw(bodies, 2) - 0.5), 0.05 + 0.1 * draw(frames)
    parts = list[Tensor]()
    for f in range(frames):
        boxes = start.clone()
        boxes[:, :2] += gaps[: f + 1].sum() * speed
        boxes += 0.1 * torch.randn(boxes.shape, generator=random).double()
        false = start[:3].clone()
        false[:, :2] = side * draw(3, 2)
        parts.append(torch.cat([boxes[draw(bodies) < 0.8], false]) if f % 9 != 4 else boxes[:0])
    made = objects(parts)
    score = 2.0 + 2 * torch.randn(len(made.boxes), generator=random).double()
    return replace(made, stamps=(gaps.cumsum(0) * 1e9).long(), score=score)


def same(one: History, other: History, tolerance: float = 1e-10) -> None:
    for name, mine, theirs in zip(one.tracks._fields, one.tracks, other.tracks, strict=True):
        if mine is None or theirs is None:
            assert mine is theirs, name
        else:
            torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance, msg=name)
    assert torch.equal(one.frame, other.frame) and torch.equal(one.shown, other.shown)
    assert torch.equal(one.stamps, other.stamps)
    for mine, theirs in zip(one.consistency(), other.consistency(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-8)


def trackers() -> list[Tracker]:
    cascade = Cascade(
        [
            SinglePass(Mahalanobis(40.0, 6.0), Hungarian(), least=0.0),
            SinglePass(Mahalanobis(40.0, 6.0), Hungarian(), most=0.5),
            SinglePass(CentreDistance(1.5), Greedy(), most=0.3),
        ]
    )
    return [
        tracker(20.0, associator=cascade, deleter=Deleter(-3.0, 1.0, 8, 2.9, 60.0)),
        tracker(
            predictor=Predictor(ConstantTurn([0.5, 0.5, 0.1], 0.3, [0.01] * 3)),
            initiator=Initiator([10.0, 10.0, 1.0, 0.5], doubt=1.0),
        ),
    ]


@pytest.mark.parametrize(("which", "posed"), [(0, False), (0, True), (1, True)])
def test_scenes_at_once_are_each_alone(which: int, posed: bool) -> None:
    made = trackers()[which]
    lengths = (3, 6, 1, 5) if which else (12, 30, 1, 25)  # a motion that is not linear takes its time
    sequences = [crowd(seed, frames) for seed, frames in enumerate(lengths)]
    sequences.append(objects([torch.zeros(0, 7).double()] * 3))
    poses = None
    if posed:
        poses = [torch.arange(len(one))[:, None] * torch.tensor([0.3, 0.1, 0.0, 0.02]) for one in sequences]
    together = made.run_many(sequences, poses)
    for s, (one, both) in enumerate(zip(sequences, together, strict=True)):
        alone = made.run(one, None if poses is None else poses[s])
        same(both, alone)
        assert len(both.frames) == len(alone.frames) == len(one)
        assert torch.equal(tell(both, one, "fixed-lag", 0.5).splits, tell(alone, one, "fixed-lag", 0.5).splits)
        last, other = both.frames[-1], alone.frames[-1]
        assert last.stamp == other.stamp and torch.equal(last.tracks.identity, other.tracks.identity)


def test_equal_gaps_are_one_step_and_nothing_is_nothing() -> None:
    sequences = [replace(crowd(seed, 15), stamps=torch.arange(15) * 100_000_000) for seed in range(3)]
    made = trackers()[0]
    added = [torch.linspace(-1, 1, len(one.boxes)).double() for one in sequences]
    for both, one, more in zip(made.run_many(sequences, added=added), sequences, added, strict=True):
        same(both, made.run(one, added=more))
    assert made.run_many([]) == []
    with pytest.raises(ValueError, match="one a sequence"):
        made.run_many(sequences, added=added[:2])
    with pytest.raises(ValueError, match="for all or for none"):
        made.run_many([sequences[0], replace(sequences[1], score=None)])


def test_a_tracker_with_steps_of_its_own_goes_one_by_one() -> None:
    class Counting(Tracker):
        steps = 0

        def step(self, *given: object, **named: object):
            self.steps += 1
            return super().step(*given, **named)  # pyright: ignore[reportArgumentType]

    parts = vars(trackers()[0])
    made = Counting(**parts)
    assert len(made.run_many([crowd(0, 5), crowd(1, 4)])) == 2 and made.steps == 9


@pytest.mark.gpu
def test_a_thousand_scenes_on_a_gpu_are_each_alone() -> None:
    made = trackers()[0]
    sequences = [crowd(seed, 10 + seed % 7) for seed in range(20)]
    many = made.run_many(sequences * 50, device="cuda")
    for k in (0, 3, 19, 500, 999):
        same(many[k], made.run(sequences[k % 20]), 1e-7)


def test_a_run_without_frames_says_nothing() -> None:
    some = crowd(3, 4)
    none = torch.zeros(0, dtype=torch.int64)
    boxes = torch.zeros(0, 7).double()
    nothing = Objects(none, torch.zeros(1, dtype=torch.int64), boxes, none, ("Car",), boxes[:, 0])
    alone = tracker().run(nothing)
    assert len(alone.consistency().nis) == 0 and len(tell(alone, nothing, "fixed-lag").boxes) == 0
    for at, sequences in ((0, [nothing]), (0, [nothing, some]), (1, [some, nothing])):
        made = tracker().run_many(sequences)
        assert [len(one.stamps) for one in made] == [len(one) for one in sequences]
        assert made[at].consistency().residual.shape == (0, 7)
