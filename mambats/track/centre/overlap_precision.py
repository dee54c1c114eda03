"""Average precision by overlap of boxes, as KITTI has it, beside that by distance."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from mambats.track.centre.model import Found
from mambats.track.centre.precision import claimed, joined
from mambats.track.centre.sweeps import SweepBatch
from mambats.track.overlap import iou_3d_of_pairs, iou_bev_of_pairs

#: Overlaps from which a box counts as found: in space, then from above.
OVERLAPS = (0.5, 0.7)
NAMES = tuple(f"ap_{kind}_{round(100 * one)}" for kind in ("3d", "bev") for one in OVERLAPS)
RECALLS = 40


class Overlaps(NamedTuple):
    """How much D boxes share with M of the truth, in B sweeps."""

    space: Tensor  # (B, D, M) intersection over union of volumes
    above: Tensor  # (B, D, M) of areas seen from above


class OverlapScores(Metric):
    """Average precision of each class where a box counts from an overlap of 0.5 and of 0.7, in space and from above.

    Precision is interpolated at 40 recalls, 1/40 to 1. A class without truth has NaN. Every box of the truth counts,
    however far or hidden: KITTI's easy, moderate and hard are not told apart.

    Args:
        classes: Names.

    Source: A. Simonelli et al., Disentangling monocular 3D object detection, ICCV 2019, section 6.1 (40 recalls).
    """

    full_state_update = False
    scores: list[Tensor]
    labels: list[Tensor]
    hits: list[Tensor]
    truths: Tensor

    def __init__(self, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.classes = tuple(classes)
        for name in ("scores", "labels", "hits"):
            self.add_state(name, [], dist_reduce_fx="cat")
        self.add_state("truths", torch.zeros(len(self.classes), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, found: Found, batch: SweepBatch) -> None:
        """Take what was found in a batch."""
        there, known = found.score > 0, batch.labels >= 0
        own = (found.labels[..., None] == batch.labels[:, None]) & there[..., None] & known[:, None]
        shared = overlaps(found.boxes, batch.boxes, own)
        limits = [one for _ in range(2) for one in OVERLAPS]
        tables = torch.stack([part for part in shared for _ in OVERLAPS], 1)  # (B, 4, D, M)
        apart = torch.where(own[:, None] & (tables > 0), -tables, torch.inf)
        hit = claimed(apart, -apart.new_tensor(limits)[:, None]) >= 0
        self.scores.append(found.score[there])
        self.labels.append(found.labels[there])
        self.hits.append(hit.transpose(1, 2)[there])
        self.truths += torch.bincount(batch.labels[known], minlength=len(self.classes)).to(self.truths)

    def compute(self) -> dict[str, Tensor]:
        """Return `ap_3d_50`, `ap_3d_70`, `ap_bev_50`, `ap_bev_70`, and each of each class (`ap_3d_50_car`)."""
        score, label, hit = (joined(part) for part in (self.scores, self.labels, self.hits))
        rows = [
            average_precision_40(score[label == number], hit[label == number], int(self.truths[number]))
            for number in range(len(self.classes))
        ]
        table = torch.stack(rows)  # (K, 4)
        made = dict(zip(NAMES, table.nanmean(0), strict=True))
        for name, row in zip(self.classes, table, strict=True):
            made |= {f"{word}_{name}": value for word, value in zip(NAMES, row, strict=True)}
        return made


def overlaps(boxes: Tensor, truth: Tensor, wanted: Tensor) -> Overlaps:
    """Return overlaps of boxes (B, D, 7) with those of the truth (B, M, 7), 0 where not `wanted` (B, D, M)."""
    reach = (boxes[..., 3:5].norm(dim=-1)[..., None] + truth[..., 3:5].norm(dim=-1)[:, None]) / 2
    apart = (boxes[:, :, None, :2] - truth[:, None, :, :2]).norm(dim=-1)
    sweep, row, column = (wanted & (apart < reach)).nonzero().unbind(-1)
    one, other = boxes[sweep, row].double(), truth[sweep, column].double()
    made = [torch.zeros(wanted.shape, dtype=torch.float64, device=boxes.device) for _ in range(2)]
    for table, measure in zip(made, (iou_3d_of_pairs, iou_bev_of_pairs), strict=True):
        table[sweep, row, column] = measure(one, other)
    return Overlaps(*made)


def average_precision_40(score: Tensor, hit: Tensor, truths: int) -> Tensor:
    """Return the mean over 40 recalls of the best precision at that recall or a higher one.

    Args:
        score: Shape (N,).
        hit: Shape (N, L) bool.
        truths: How many there are to be found.

    Returns:
        Shape (L,); NaN where there is no truth.
    """
    if not truths:
        return torch.full((hit.shape[-1],), torch.nan, dtype=torch.float64, device=score.device)
    order = score.argsort(descending=True, stable=True)
    true = hit[order].double().cumsum(0).T  # (L, N)
    precision = true / torch.arange(1, true.shape[1] + 1, device=score.device)
    best = torch.nn.functional.pad(precision, (0, 1)).flip(1).cummax(1).values.flip(1)
    # Recalls are counts: compared as whole numbers, so that 0.5 of 2 is reached by 1.
    wanted = torch.arange(1, RECALLS + 1, dtype=torch.float64, device=score.device) * truths / RECALLS
    place = torch.searchsorted(true.contiguous(), (wanted - 1e-9).expand(len(true), -1).contiguous())
    return best.gather(1, place).mean(1)
