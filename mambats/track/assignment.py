"""Who takes which detection, of the pairs that can be: the cheapest first, each its nearest, or the least sum."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mambats.track.matching import groups, least_sum, least_sums

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


class Assignment(ABC):
    """Chooses among pairs with finite costs so that no track and no detection is taken twice."""

    @overload
    def __call__(self, pairs: tuple[Tensor, Tensor], cost: Tensor) -> Tensor: ...
    @overload
    def __call__(self, pairs: tuple[Rows, Rows], cost: Floats) -> Rows: ...
    def __call__(self, pairs: tuple[Tensor, Tensor] | tuple[Rows, Rows], cost: Tensor | Floats) -> Tensor | Rows:
        """Return which of K pairs are chosen, shape (M,), tensors for tensors and arrays for arrays."""
        if isinstance(cost, Tensor):
            return self.choose(torch.as_tensor(pairs[0]), torch.as_tensor(pairs[1]), cost)
        first, second = (torch.as_tensor(rows, dtype=torch.int64) for rows in pairs)
        return self.choose(first, second, torch.from_numpy(cost)).numpy()

    @abstractmethod
    def choose(self, first: Tensor, second: Tensor, cost: Tensor) -> Tensor:
        """Return which of K pairs are chosen, (M,) int64: rows of tracks and of detections and costs, (K,) each."""


class Greedy(Assignment):
    """The cheapest pair first, then the cheapest of what is left; of equal ones the first."""

    def choose(self, first: Tensor, second: Tensor, cost: Tensor) -> Tensor:
        """Return the chosen pairs, the cheapest first."""
        order = torch.argsort(cost, stable=True)
        first, second = first[order], second[order]
        left, chosen = torch.arange(len(order), device=order.device), torch.zeros_like(order, dtype=torch.bool)
        # A pair that is the cheapest of both its ends will be taken whatever becomes of the others: many at once.
        while len(left):
            rank = torch.arange(len(left), device=left.device)
            one, two = first[left], second[left]
            taken = _is_first(rank, one) & _is_first(rank, two)
            chosen[left[taken]] = True
            left = left[~(_any(taken, one) | _any(taken, two))]
        return order[chosen]


class Nearest(Assignment):
    """Each track takes the detection nearest to it, unless another track is nearer to that one."""

    def choose(self, first: Tensor, second: Tensor, cost: Tensor) -> Tensor:
        """Return the chosen pairs."""
        order = torch.argsort(cost, stable=True)
        nearest = order[_is_first(torch.arange(len(order), device=order.device), first[order])]
        return nearest[_is_first(torch.arange(len(nearest), device=order.device), second[nearest])]


class Hungarian(Assignment):
    """As many pairs as can be, and of these the least sum of costs.

    Pairs that share no end with another are taken as they are. The others fall into groups that share none, solved
    apart: a crowd costs what its groups cost.
    """

    #: Conflicting pairs up to which one table is cheaper than to part it into groups.
    FEW = 24

    def choose(self, first: Tensor, second: Tensor, cost: Tensor) -> Tensor:
        """Return the chosen pairs."""
        alone = _alone(first) & _alone(second)
        taken, rest = torch.nonzero(alone)[:, 0], torch.nonzero(~alone)[:, 0]
        if not len(rest):
            return taken
        one, two, price = first[rest], second[rest], cost[rest]
        if not cost.is_cpu:
            return torch.cat([taken, rest[least_sums(one, two, price)]])
        if len(rest) <= self.FEW:
            return torch.cat([taken, rest[least_sum(one, two, price)]])
        parts = torch.split(*groups(one, two))
        solved = [part[least_sum(one[part], two[part], price[part])] for part in parts]
        return torch.cat([taken, rest[torch.cat(solved)]])


def _alone(rows: Tensor) -> Tensor:
    """Say of each whether no other names its row."""
    return (rows.bincount() == 1)[rows]


def _is_first(rank: Tensor, rows: Tensor) -> Tensor:
    """Say of each whether it has the lowest rank of those that name its row; ranks are below their number."""
    best = torch.full((int(rows.max()) + 1 if len(rows) else 0,), len(rank), device=rank.device)
    return best.scatter_reduce(0, rows, rank, "amin")[rows] == rank


def _any(flag: Tensor, rows: Tensor) -> Tensor:
    """Say of each whether one of those that name its row has the flag."""
    return (torch.zeros(int(rows.max()) + 1, device=rows.device).index_add(0, rows, flag.float()) > 0)[rows]
