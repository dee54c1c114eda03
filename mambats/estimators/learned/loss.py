"""What a filter's noise is trained by: how surprised the filter is."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from mambats.protocols import Innovation


def surprise(told: Iterable[Innovation], measured: Iterable[Tensor] | None = None, most: float = 25.0) -> Tensor:
    """Return minus the mean log likelihood of measurements, nats a number measured.

    Args:
        told: Innovations of any leading axes.
        measured: Which of them count, (...) bool; None takes those that were let in. With measurements that the filter
            was not given, its forecast is scored.
        most: Largest nis for each number of the residual: beyond, an outlier counts as one of that size and has no
            gradient through its size.
    """
    total, count = [], []
    innovations = list(told)
    masks = [one.used for one in innovations] if measured is None else list(measured)
    for one, mask in zip(innovations, masks, strict=True):
        size = one.residual.shape[-1]
        cost = -one.log_likelihood - 0.5 * (one.nis - one.nis.clamp_max(most * size))
        total.append(torch.where(mask, cost, 0.0).sum())
        count.append(mask.sum() * size)
    if not total:
        raise ValueError("there is no innovation: give a run in which something was measured.")
    return torch.stack(total).sum() / torch.stack(count).sum().clamp_min(1)
