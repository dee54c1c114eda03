"""Who takes which detection, of the pairs that can be: the cheapest first, each its nearest, or the least sum.

Rows and costs are tensors on any device, or NumPy arrays: those are what a tracker gives on a CPU, where ten pairs take
a third of the time so.
"""

from __future__ import annotations

import functools
import importlib.util
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mambats.track.matching import Array, Floats, Rows, groups, least_sum, least_sums, rows_where


class Assignment(ABC):
    """Chooses among pairs with finite costs so that no track and no detection is taken twice."""

    @abstractmethod
    def __call__(self, pairs: tuple[Array, Array], cost: Array) -> Any:
        """Return which of K pairs are chosen.

        Args:
            pairs: Rows of tracks and rows of detections, (K,) int64 each, tensors or arrays.
            cost: Shape (K,), of the same kind.

        Returns:
            Places among the pairs, shape (M,), of the same kind.
        """


class Greedy(Assignment):
    """The cheapest pair first, then the cheapest of what is left; of equal ones the first."""

    def __call__(self, pairs: tuple[Array, Array], cost: Array) -> Any:
        """Return the chosen pairs, the cheapest first."""
        order = torch.argsort(torch.as_tensor(cost), stable=True)
        first, second = (torch.as_tensor(rows)[order] for rows in pairs)
        left, chosen = torch.arange(len(order), device=order.device), torch.zeros_like(order, dtype=torch.bool)
        # A pair that is the cheapest of both its ends will be taken whatever becomes of the others: many at once.
        while len(left):
            one, two = first[left], second[left]
            taken = _is_first(one) & _is_first(two)
            chosen[left[taken]] = True
            left = left[~(_any(taken, one) | _any(taken, two))]
        return _like(order[chosen], cost)


class Nearest(Assignment):
    """Each track takes the detection nearest to it, unless another track is nearer to that one."""

    def __call__(self, pairs: tuple[Array, Array], cost: Array) -> Any:
        """Return the chosen pairs."""
        order = torch.argsort(torch.as_tensor(cost), stable=True)
        first, second = (torch.as_tensor(rows) for rows in pairs)
        nearest = order[_is_first(first[order])]
        return _like(nearest[_is_first(second[nearest])], cost)


class Hungarian(Assignment):
    """As many pairs as can be, and of these the least sum of costs.

    Pairs that share no end with another are taken as they are. The others fall into groups that share none, solved
    apart: a crowd costs what its groups cost.
    """

    #: Conflicting pairs up to which one table is cheaper than to part it into groups.
    FEW = 24

    def __call__(self, pairs: tuple[Array, Array], cost: Array) -> Any:
        """Return the chosen pairs."""
        if isinstance(cost, Tensor) and cost.is_cpu:
            return torch.from_numpy(self((pairs[0].numpy(), pairs[1].numpy()), cost.detach().numpy()))
        alone = _alone(pairs[0]) & _alone(pairs[1])
        if bool(alone.all()):
            return rows_where(alone)
        taken, rest = rows_where(alone), rows_where(~alone)
        if isinstance(cost, Tensor):
            return torch.cat([taken, rest[least_sums(pairs[0][rest], pairs[1][rest], cost[rest])]])
        return np.concatenate([taken, rest[self._solved(pairs[0][rest], pairs[1][rest], cost[rest])]])

    def _solved(self, first: Rows, second: Rows, cost: Floats) -> Rows:
        """Return which pairs of arrays are chosen."""
        if not _has_scipy():
            return least_sums(*(torch.from_numpy(part) for part in (first, second, cost))).numpy()
        if len(cost) <= self.FEW:
            return least_sum(first, second, cost)
        parts = groups(first, second)
        return np.concatenate([part[least_sum(first[part], second[part], cost[part])] for part in parts])


@functools.cache
def _has_scipy() -> bool:
    return importlib.util.find_spec("scipy") is not None


def _like(chosen: Tensor, cost: Array) -> Array:
    return chosen if isinstance(cost, Tensor) else chosen.numpy()


def _alone(rows: Array) -> Array:
    """Say of each whether no other names its row."""
    return ((rows.bincount() if isinstance(rows, Tensor) else np.bincount(rows)) == 1)[rows]


def _is_first(rows: Tensor) -> Tensor:
    """Say of each whether it is the first of those that name its row."""
    place = torch.arange(len(rows), device=rows.device)
    best = torch.full((int(rows.max()) + 1 if len(rows) else 0,), len(rows), device=rows.device)
    return best.scatter_reduce(0, rows, place, "amin")[rows] == place


def _any(flag: Tensor, rows: Tensor) -> Tensor:
    """Say of each whether one of those that name its row has the flag."""
    return (torch.zeros(int(rows.max()) + 1, device=rows.device).index_add(0, rows, flag.float()) > 0)[rows]
