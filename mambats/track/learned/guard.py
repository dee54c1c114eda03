"""How much of what an encoder says is taken, class by class: what a sequence that it never saw bears out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mambats.track.behind import TRUE, UNKNOWN
from mambats.track.learned.model import SAID, InnovationNoise
from mambats.track.learned.paths import Paths
from mambats.track.learned.scan import follow

#: What may be taken of a part; 0 is the classical model.
SHARES = (0.0, 0.5, 1.0)
#: Which part of what is said is judged by existence; the others are by innovations.
EXISTENCE = len(SAID) - 1
#: Innovations, or detections, of a class below which nothing is said of its share: the classical model stays.
FEWEST = 30


@torch.no_grad()
def guard(model: InnovationNoise, batches: Sequence[Paths]) -> None:
    """Set `trust`: of each part and class the share that lets validation's paths be likeliest, one part after another.

    Factors on R and on Q and the freedom are judged by the likelihood of innovations, what is added to log odds by the
    logistic loss of existence.

    Args:
        model: Changed in place.
        batches: Of validation.
    """
    model.trust.zero_()
    model.shift.zero_()
    best = likelihoods(model, batches)
    for part in (EXISTENCE, *range(EXISTENCE)):
        for share in SHARES[1:]:
            before = model.trust.clone()
            model.trust[:, part] = share
            found = likelihoods(model, batches)
            better = found[:, int(part == EXISTENCE)] > best[:, int(part == EXISTENCE)]
            model.trust[~better] = before[~better]
            best = torch.where(better[:, None], found, best)


@torch.no_grad()
def level(model: InnovationNoise, batches: Sequence[Paths], least: Sequence[float]) -> None:
    """Set `shift`, so that as many detections leave their track above `least` as without the encoder, class by class.

    Thresholds of a tracker were chosen beside its classical log odds: the encoder says which tracks are to be told of,
    not how many.

    Args:
        model: Changed in place.
        batches: Of training.
        least: Log odds that tracks of each class are told of from.
    """
    model.shift.zero_()
    plain = model.classical()
    logits = [(follow(plain, one).logit[one.seen], follow(model, one).logit[one.seen], _kinds(one)) for one in batches]
    without, said, kind = (torch.cat(part) for part in zip(*logits, strict=True))
    for k in range(len(model.classes)):
        own = kind == k
        told = int((without[own] >= least[k]).sum())
        if model.trust[k, EXISTENCE] > 0 and 0 < told < int(own.sum()):
            model.shift[k] = least[k] - said[own].sort(descending=True).values[told - 1]


def likelihoods(model: InnovationNoise, batches: Sequence[Paths]) -> Tensor:
    """Return the log likelihood of innovations and of existence, summed class by class, shape (K, 2).

    A class with fewer than `FEWEST` of either has minus infinity there.
    """
    total = torch.zeros(len(model.classes), 2, dtype=torch.float64)
    count = torch.zeros_like(total)
    for paths in batches:
        found, kinds = follow(model, paths), paths.kind[:, None].expand_as(paths.truth)
        known = paths.seen & (paths.truth != UNKNOWN)
        true = (paths.truth == TRUE).to(found.logit)
        sure = -torch.nn.functional.binary_cross_entropy_with_logits(found.logit, true, reduction="none")
        for column, value, here in ((0, found.log_likelihood, found.innovation), (1, sure, known)):
            total[:, column].index_add_(0, kinds[here], value[here])
            count[:, column] += kinds[here].bincount(minlength=len(total))
    return total.masked_fill(count < FEWEST, -torch.inf)


def _kinds(paths: Paths) -> Tensor:
    return paths.kind[:, None].expand_as(paths.truth)[paths.seen]
