"""Small worlds of boxes for tests of the tracker."""

from __future__ import annotations

import torch
from torch import Tensor

from mambats.track import (
    BoxNoise,
    ByExistence,
    Cascade,
    ConstantVelocity,
    Deleter,
    Detector,
    Existence,
    Hungarian,
    Initiator,
    Mahalanobis,
    Objects,
    Predictor,
    SinglePass,
    Tracker,
    Updater,
)
from mambats.track.objects import splits_of

SIGMA = 0.1  # of every number of a box


def tracker(surprise: float | None = None, **parts: object) -> Tracker:
    """A tracker whose noise is that of `straight`; parts by name replace its own."""
    made: dict[str, object] = {
        "detector": Detector(BoxNoise([[torch.tensor(SIGMA).log().item()]] * 7, along=False)),
        "predictor": Predictor(ConstantVelocity([0.1, 0.1, 0.1], [0.01] * 4)),
        "associator": Cascade([SinglePass(Mahalanobis(40.0, 5.0), Hungarian())]),
        "updater": Updater(Existence(seen=0.8), surprise),
        "initiator": Initiator([10.0, 10.0, 1.0], doubt=1.0),
        "deleter": Deleter(least=-4.0, silence=1.0),
        "confirmer": ByExistence(2.0),
    }
    return Tracker(**(made | parts))  # pyright: ignore[reportArgumentType]


def straight(bodies: int = 3, frames: int = 30, seed: int = 0, step: int = 100_000_000) -> tuple[Objects, Tensor]:
    """Bodies 20 m apart at constant velocity, seen with noise; and the true boxes (F, N, 7)."""
    random = torch.Generator().manual_seed(seed)
    start = torch.zeros(bodies, 7).double()
    start[:, 0], start[:, 1], start[:, 3:6] = 20.0, 20.0 * torch.arange(bodies), torch.tensor([4.0, 2.0, 1.5]).double()
    velocity = torch.randn(bodies, 3, generator=random).double() * torch.tensor([3.0, 1.0, 0.0]).double()
    time = torch.arange(frames).double() * step / 1e9
    truth = start.repeat(frames, 1, 1)
    truth[..., :3] += time[:, None, None] * velocity
    seen = truth + SIGMA * torch.randn(truth.shape, generator=random).double()
    return objects(list(seen), step=step), truth


def objects(frames: list[Tensor], score: float = 3.0, step: int = 100_000_000) -> Objects:
    """Detections of one class from boxes (N, 7) frame by frame."""
    boxes = torch.cat(frames)
    return Objects(
        stamps=torch.arange(len(frames)) * step,
        splits=splits_of([len(one) for one in frames]),
        boxes=boxes,
        labels=torch.zeros(len(boxes), dtype=torch.int64),
        classes=("Car",),
        score=torch.full((len(boxes),), score).double(),
    )
