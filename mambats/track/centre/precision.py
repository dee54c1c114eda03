"""Average precision by centre distance, as nuScenes has it, and the errors of what was found."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from mambats.track.centre.codes import residual
from mambats.track.centre.model import Found
from mambats.track.centre.sweeps import SweepBatch

DISTANCES = (0.5, 1.0, 2.0, 4.0)  # m
ERRORS_AT = 2.0  # m within which a box counts as found where its errors are told
RECALLS = 101
LEAST = 0.1  # recall and precision below which nothing counts


class Matches(NamedTuple):
    """D boxes of B sweeps against the truth."""

    hit: Tensor  # (B, 4, D) bool: within each of `DISTANCES` of a box of its class that none before it took
    truth: Tensor  # (B, D) int64: which it took within 2 m, -1 none


def match(found: Found, batch: SweepBatch) -> Matches:
    """Let boxes, the highest score first, each take the nearest box of their class that is left, on the ground."""
    apart = torch.cdist(found.boxes[..., :2].double(), batch.boxes[..., :2].double())
    other = found.labels[..., None] != batch.labels[:, None]
    apart = apart.masked_fill(other | (found.score <= 0)[..., None], torch.inf)[:, None]  # (B, 1, D, M)
    which = claimed(apart, apart.new_tensor(DISTANCES)[:, None])
    return Matches(which >= 0, which[:, DISTANCES.index(ERRORS_AT)])


def claimed(apart: Tensor, limit: Tensor) -> Tensor:
    """Let each box in its order take the nearest of the truth that is left.

    Args:
        apart: How far boxes are from the truth, shape (B, 1 or L, D, M), infinite where they may not meet.
        limit: How far is too far, shape (L, 1).

    Returns:
        Which each took, shape (B, L, D) int64, -1 for none.
    """
    shape = (len(apart), len(limit), apart.shape[2])
    taken = torch.zeros((*shape[:2], apart.shape[3] + 1), dtype=torch.bool, device=apart.device)
    which = torch.full(shape, -1, device=apart.device)
    for number in range(shape[2] if apart.shape[3] else 0):
        near, index = apart[:, :, number].masked_fill(taken[..., :-1], torch.inf).min(-1, keepdim=True)
        own = torch.where(near <= limit, index, apart.shape[3])
        taken.scatter_(2, own, True)
        which[:, :, number] = torch.where(near <= limit, index, -1)[..., 0]
    return which


class DetectionScores(Metric):
    """Average precision of each class, mean over distances of 0.5, 1, 2 and 4 m, and errors of boxes found within 2 m.

    Precision is interpolated at 101 recalls; recalls up to 0.1 are left out and 0.1 is taken off each precision
    (Caesar et al., nuScenes, CVPR 2020, section 3.1). A class without truth has NaN. Errors are means over all
    classes: `ate` m on the ground, `ave` m/s, `aoe` rad between axes; `nees` is e' P^-1 e / 7 of the boxes, 1 where
    the covariance is right, and `coverage_95` the share of it inside the chi-square band.

    Args:
        classes: Names.
    """

    full_state_update = False
    scores: list[Tensor]
    labels: list[Tensor]
    hits: list[Tensor]
    errors: list[Tensor]
    truths: Tensor

    def __init__(self, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.classes = tuple(classes)
        for name in ("scores", "labels", "hits", "errors"):
            self.add_state(name, [], dist_reduce_fx="cat")
        self.add_state("truths", torch.zeros(len(self.classes), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, found: Found, batch: SweepBatch) -> None:
        """Take what was found in a batch."""
        matches = match(found, batch)
        there = found.score > 0
        self.scores.append(found.score[there])
        self.labels.append(found.labels[there])
        self.hits.append(matches.hit.transpose(1, 2)[there])
        known = batch.labels >= 0
        self.truths += torch.bincount(batch.labels[known], minlength=len(self.classes)).to(self.truths)
        true = matches.truth >= 0
        index = matches.truth.clamp_min(0)[..., None]
        if not batch.boxes.shape[1]:
            return
        boxes = batch.boxes.gather(1, index.expand(-1, -1, 7))[true]
        moving = batch.velocity.gather(1, index.expand(-1, -1, 2))[true]
        error = residual(found.boxes[true], found.velocity[true], boxes, moving)
        self.errors.append(torch.cat([error, found.variance[true]], -1))

    def compute(self) -> dict[str, Tensor]:
        """Return `ap_CLASS`, their mean `ap`, and the errors."""
        score, label, hit = (joined(part) for part in (self.scores, self.labels, self.hits))
        found: dict[str, Tensor] = {}
        for number, name in enumerate(self.classes):
            own = label == number
            found[f"ap_{name}"] = average_precision(score[own], hit[own], int(self.truths[number]))
        found = {"ap": torch.stack(list(found.values())).nanmean(), **found}
        return found | _errors(joined(self.errors))


def average_precision(score: Tensor, hit: Tensor, truths: int) -> Tensor:
    """Average precision, mean over the columns of hits: a scalar.

    Args:
        score: Shape (N,).
        hit: Shape (N, 4) bool.
        truths: How many there are to be found.
    """
    if not truths:
        return score.new_tensor(torch.nan)
    order = score.argsort(descending=True, stable=True)
    true = hit[order].double().cumsum(0).T  # (4, N)
    precision = true / torch.arange(1, true.shape[1] + 1, device=score.device)
    recall = true / truths
    wanted = torch.linspace(0, 1, RECALLS, dtype=torch.float64, device=score.device).expand(len(true), -1)
    place = torch.searchsorted(recall.contiguous(), wanted.contiguous())
    # The best precision of this recall or a higher one, and none where it is never reached.
    best = torch.nn.functional.pad(precision, (0, 1)).flip(1).cummax(1).values.flip(1)
    kept = best.gather(1, place)[:, round(LEAST * (RECALLS - 1)) + 1 :]
    return ((kept - LEAST).clamp_min(0).mean() / (1 - LEAST)).to(score.dtype)


def _errors(rows: Tensor) -> dict[str, Tensor]:
    if not rows.numel():
        return dict.fromkeys(("ate", "ave", "aoe", "nees", "coverage_95"), rows.new_tensor(torch.nan))
    error, variance = rows[:, :9], rows[:, 9:]
    white = (error[:, :7].square() / variance[:, :7]).sum(1)
    inside = (white > 1.69) & (white < 16.01)  # chi-square of 7 degrees of freedom, two-sided 95 %
    return {
        "ate": error[:, :2].norm(dim=1).mean(),
        "ave": error[:, 7:].norm(dim=1).nanmean(),
        "aoe": error[:, 6].abs().mean(),
        "nees": (white / 7).mean(),
        "coverage_95": inside.float().mean(),
    }


def joined(parts: list[Tensor] | Tensor) -> Tensor:
    """Return all rows, before and after torchmetrics has gathered them."""
    if isinstance(parts, Tensor):
        return parts
    return torch.cat(parts) if parts else torch.zeros(0)
