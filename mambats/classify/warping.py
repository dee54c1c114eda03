"""The nearest neighbour under dynamic time warping or the Euclidean distance: hard to beat, and nothing to tune."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def warping_distances(case: Tensor, others: Tensor, lengths: Tensor) -> Tensor:
    """Return the squared warped distance of a case to each of others, all channels warped together.

    D(i, j) = |a_i - b_j|^2 + min(D(i - 1, j), D(i, j - 1), D(i - 1, j - 1)), taken anti-diagonal by anti-diagonal.

    Args:
        case: Shape (T, C).
        others: Shape (n, U, C), padded behind.
        lengths: Of each, shape (n,) int64, at least 1.

    Returns:
        Shape (n,).

    Source: Shokoohi-Yekta et al., Generalizing Dynamic Time Warping to the Multi-Dimensional Case, 2015 (DTW_D).
    """
    rows, columns = case.shape[0], others.shape[1]
    cost = torch.cdist(case.expand(others.shape[0], -1, -1), others).square()
    best = torch.full((others.shape[0], rows + 1, columns + 1), torch.inf, dtype=cost.dtype)
    best[:, 0, 0] = 0
    for diagonal in range(rows + columns - 1):
        i = torch.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        j = diagonal - i
        before = torch.minimum(torch.minimum(best[:, i, j + 1], best[:, i + 1, j]), best[:, i, j])
        best[:, i + 1, j + 1] = cost[:, i, j] + before
    return best[torch.arange(others.shape[0]), rows, lengths]


def stretched(cases: Sequence[Tensor], length: int) -> Tensor:
    """Return cases (T_i, C) brought to one length by straight lines, shape (n, length, C)."""
    return torch.stack(
        [
            torch.nn.functional.interpolate(case.T[None], size=length, mode="linear", align_corners=True)[0].T
            if case.shape[0] > 1
            else case.expand(length, -1)
            for case in cases
        ]
    )


def nearest_warped(train: Sequence[Tensor], labels: Tensor, test: Sequence[Tensor]) -> Tensor:
    """Return the label of the nearest training case under `warping_distances`, shape (len(test),)."""
    lengths = torch.tensor([len(case) for case in train])
    padded = torch.nn.utils.rnn.pad_sequence(list(train), batch_first=True)
    return torch.stack([labels[warping_distances(case, padded, lengths).argmin()] for case in test])


def nearest_euclidean(train: Sequence[Tensor], labels: Tensor, test: Sequence[Tensor]) -> Tensor:
    """Return the label of the nearest training case, all brought to the longest training length, (len(test),)."""
    length = max(len(case) for case in train)
    known, asked = (stretched(cases, length).flatten(1) for cases in (train, test))
    return labels[torch.cdist(asked, known).argmin(1)]
