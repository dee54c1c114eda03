"""Padded tensors of one scene as what trackers read: boxes of a sequence."""

from __future__ import annotations

import torch
from torch import Tensor

from mambats.track.objects import Objects
from mambats_datasets.synthetic.world.detections import HIDDEN, PLAIN, Detections, Targets
from mambats_datasets.synthetic.world.kinds import CAR, LABELS, MOVING

#: Names of what moves; label 0 is the first.
CLASSES = tuple(LABELS[kind] for kind in MOVING)


def true_objects(stamps: Tensor, targets: Targets, row: int = 0) -> Objects:
    """What there is in scene `row`, with identities and velocities.

    Args:
        stamps: Of the frames, shape (T,) int64 ns.
        targets: Of B scenes, in the sensor's frame at each time.
        row: Which scene.

    Returns:
        Boxes on the CPU; `occluded` is 0 where half or more is seen, 2 where a tenth or less is, else 1.
    """
    alive = targets.alive[row].cpu()
    identity = torch.arange(alive.shape[1]).expand_as(alive)
    kind = targets.kind[row].cpu().expand_as(alive)
    seen = targets.visible[row].cpu()[alive]
    return Objects(
        stamps=stamps.cpu(),
        splits=_splits(alive),
        boxes=targets.box[row].cpu()[alive].double(),
        labels=kind[alive] - CAR,
        classes=CLASSES,
        identity=identity[alive],
        occluded=(seen < PLAIN).long() + (seen <= HIDDEN).long(),
        velocity=targets.velocity[row].cpu()[alive].double(),
    )


def detected_objects(stamps: Tensor, found: Detections, row: int = 0) -> Objects:
    """What is said to be there in scene `row`, with scores, the highest of a frame first.

    Arguments are as for `true_objects`. The covariance is what the noise was drawn with; a false box, which has none,
    carries the mean of the true ones' of the scene, so that it does not give itself away.
    """
    present = found.present[row].cpu()
    variance = found.deviation[row].cpu()[present].double().square()
    false = (found.identity[row].cpu()[present] < 0)[:, None]
    usual = variance.sum(0) / (~false).sum().clamp_min(1)
    variance = torch.where(false, usual, variance).clamp_min(1e-12)
    return Objects(
        stamps=stamps.cpu(),
        splits=_splits(present),
        boxes=found.box[row].cpu()[present].double(),
        labels=found.kind[row].cpu()[present] - CAR,
        classes=CLASSES,
        score=found.score[row].cpu()[present].double(),
        covariance=torch.diag_embed(variance),
    )


def _splits(kept: Tensor) -> Tensor:
    """Splits (T + 1,) of the kept ones (T, n)."""
    return torch.nn.functional.pad(kept.sum(-1).cumsum(0), (1, 0))
