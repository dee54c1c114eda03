"""As many pairs as can be at the least sum of costs: one table by scipy, or the tables of many groups at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

#: A tensor or a NumPy array.
Array = Any
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


def rows_where(mask: Array) -> Array:
    """Return the rows where a mask (N,) is True."""
    return torch.nonzero(mask)[:, 0] if isinstance(mask, Tensor) else mask.nonzero()[0]


def least_sum(first: Rows, second: Rows, cost: Floats) -> Rows:
    """Return which of K pairs (K,) are chosen, by scipy's assignment of one table."""
    from scipy.optimize import linear_sum_assignment

    rows, height = _places(first.tolist())
    columns, width = _places(second.tolist())
    if height == 1 or width == 1:
        return np.array([cost.argmin()])
    low, high = float(cost.min()), float(cost.max())
    # One pair left out must cost more than any choice among those there are.
    table = np.full((height, width), (high - low + 1) * (min(height, width) + 1))
    table[rows, columns] = cost - low
    which = np.full((height, width), -1)
    which[rows, columns] = np.arange(len(cost))
    chosen = which[linear_sum_assignment(table)]
    return chosen[chosen >= 0]


def _places(values: list[int]) -> tuple[list[int], int]:
    number = {value: k for k, value in enumerate(dict.fromkeys(values))}
    return [number[value] for value in values], len(number)


def groups(first: Rows, second: Rows) -> list[Rows]:
    """Return the places of K pairs, group by group: groups share no row with one another."""
    label = _labels(torch.from_numpy(first), torch.from_numpy(second)).numpy()
    order = np.argsort(label, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(label[order])) + 1)


def _labels(first: Tensor, second: Tensor) -> Tensor:
    """Return of each pair the lowest row of `first` in its group: it spreads until nothing changes."""
    label = first
    ends = [
        (rows, torch.full((int(rows.max()) + 1,), int(first.max()), device=rows.device)) for rows in (second, first)
    ]
    while True:
        before = label
        for rows, best in ends:
            label = best.scatter_reduce(0, rows, label, "amin")[rows]
        if torch.equal(label, before):
            return label


def least_sums(first: Tensor, second: Tensor, cost: Tensor) -> Tensor:
    """Return which of K pairs (K,) are chosen, all groups at once on any device.

    Source: the shortest augmenting paths of Jonker and Volgenant, A Shortest Augmenting Path Algorithm for Dense and
        Sparse Linear Assignment Problems, Computing 38, 1987, every group a row of a batch.
    """
    group = torch.unique(_labels(first, second), return_inverse=True)[1]
    row, heights = _within(group, first)
    column, widths = _within(group, second)
    width = int(torch.maximum(heights.max(), widths.max()))
    shape = (len(heights), int(heights.max()), width)
    low = torch.full((len(heights),), torch.inf, dtype=cost.dtype, device=cost.device)
    low = low.scatter_reduce(0, group, cost, "amin")[group]
    # One pair left out must cost more than any choice among those there are.
    table = torch.full(shape, float((cost - low).max() + 1) * (width + 1), dtype=cost.dtype, device=cost.device)
    table[group, row, column] = cost - low
    return torch.nonzero(_columns(table, heights)[group, row] == column)[:, 0]


def _within(group: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return of each pair the place of its row among its group's, and how many each group has."""
    width = int(rows.max()) + 1
    ends, which = torch.unique(group * width + rows, return_inverse=True)
    count = torch.div(ends, width, rounding_mode="floor").bincount()
    return which - (count.cumsum(0) - count)[group], count


def _columns(table: Tensor, heights: Tensor) -> Tensor:
    """Return the column (G, H) of every row of tables (G, H, W), H <= W, at the least sum.

    Group g has `heights[g]` rows. Columns and rows count from 1 here: column 0 holds the row that looks for a place,
    row 0 is nobody.
    """
    count, height, width = table.shape
    prices = torch.nn.functional.pad(table, (1, 0, 1, 0))
    of_row, of_column = prices.new_zeros(count, height + 1), prices.new_zeros(count, width + 1)
    holder = torch.zeros(count, width + 1, dtype=torch.int64, device=table.device)
    all_ = torch.arange(count, device=table.device)
    for row in range(1, height + 1):
        some = all_[heights >= row]
        end, way = _path(prices, (of_row, of_column), holder, some, row)
        while len(some):  # back along the path, everyone moves on by one
            before = way[some, end]
            holder[some, end] = holder[some, before]
            some, end = some[before > 0], before[before > 0]
    made = torch.zeros(count, height + 1, dtype=torch.int64, device=table.device)
    # Column 0 still names the row that looked last, which holds another now: on a GPU either could be written last.
    made.scatter_(1, holder[:, 1:], torch.arange(1, width + 1, device=table.device).expand(count, -1))
    return made[:, 1:] - 1


def _path(
    prices: Tensor, duals: tuple[Tensor, Tensor], holder: Tensor, some: Tensor, row: int
) -> tuple[Tensor, Tensor]:
    """Return for some groups the free column that a row's cheapest path ends at, and of every column the one before."""
    of_row, of_column = duals
    holder[some, 0] = row
    way, best = torch.zeros_like(holder), torch.full_like(of_column, torch.inf)
    used = torch.zeros_like(holder, dtype=torch.bool)
    at = torch.zeros(len(holder), dtype=torch.int64, device=holder.device)
    looking = some
    while len(looking):
        here = at[looking]
        used[looking, here] = True
        who = holder[looking, here]
        price = prices[looking, who] - of_row[looking, who][:, None] - of_column[looking]
        open_ = ~used[looking]
        better = open_ & (price < best[looking])
        best[looking] = torch.where(better, price, best[looking])
        way[looking] = torch.where(better, here[:, None], way[looking])
        least, where = torch.where(open_, best[looking], torch.inf).min(1)
        change = torch.where(open_, 0.0, least[:, None])
        of_row[looking] = of_row[looking].scatter_add(1, holder[looking], change)
        of_column[looking] -= change
        best[looking] -= torch.where(open_, least[:, None], 0.0)
        at[looking] = where
        looking = looking[holder[looking, where] > 0]
    return at[some], way
