"""Operators that ONNX lacks, written in those that it has: a graph is decomposed by this table before it is exported.

Matrices are small here (3 x 3 to 20 x 20), rows of a tick few: loops over columns are laid out, searches compare all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def cholesky(matrix: Tensor, upper: bool = False, check_errors: bool = False) -> tuple[Tensor, Tensor]:
    """Return lower Cholesky factors of (..., n, n) in float64 inside, and 1 where one is not positive definite."""
    left, columns, pivots = matrix.double(), list[Tensor](), list[Tensor]()
    for j in range(matrix.shape[-1]):
        column = left.select(-1, j)
        pivot = column.select(-1, j)
        columns.append(column)
        pivots.append(pivot)
        if j + 1 < matrix.shape[-1]:
            left = left - column.unsqueeze(-1) * (column / pivot.unsqueeze(-1)).unsqueeze(-2)
    diagonal = torch.stack(pivots, -1)
    lower = torch.stack(columns, -1) * _triangle(matrix.shape[-1])
    factor = lower / diagonal.sqrt().unsqueeze(-2)
    return factor.to(matrix.dtype), (~(diagonal > 0).all(-1)).to(torch.int32)


def _triangle(size: int) -> Tensor:
    return torch.ones(size, size, dtype=torch.float64).tril()


def solve_triangular(
    factor: Tensor, right: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor:
    """Return what the triangular matrix (..., n, n) times gives (..., n, k), row by row."""
    if not left or unitriangular:
        raise NotImplementedError("only left sides with a diagonal are solved for")
    size = factor.shape[-1]
    rows: dict[int, Tensor] = {}
    for i in reversed(range(size)) if upper else range(size):
        rest = right.select(-2, i)
        for j, known in rows.items():
            rest = rest - factor.select(-2, i).select(-1, j).unsqueeze(-1) * known
        rows[i] = rest / factor.select(-2, i).select(-1, i).unsqueeze(-1)
    return torch.stack([rows[i] for i in range(size)], -2)


def cholesky_solve(right: Tensor, factor: Tensor, upper: bool = False) -> Tensor:
    """Return A^-1 right of A = L L'."""
    if upper:
        raise NotImplementedError("only lower factors are solved for")
    half = solve_triangular(factor, right, upper=False)
    return solve_triangular(factor.transpose(-1, -2), half, upper=True)


def searchsorted(
    rows: Tensor,
    values: Tensor,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Count how many of sorted rows (..., N) lie before each value (..., Q)."""
    right = right or side == "right"
    if sorter is not None or out_int32:
        raise NotImplementedError("only plain searches are written out")
    one, other = rows.unsqueeze(-2), values.unsqueeze(-1)
    return (one <= other if right else one < other).long().sum(-1)


def cummax(values: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return running maxima of (B, N) along the last axis; where they stand is not asked here."""
    if dim not in (-1, values.dim() - 1):
        raise NotImplementedError("only along the last axis")
    place = torch.arange(values.shape[-1], device=values.device)
    seen = place <= place.unsqueeze(-1)
    least = torch.iinfo(values.dtype).min
    running = torch.where(seen, values.unsqueeze(-2), least).amax(-1)
    return running, torch.zeros_like(running)


def asinh(value: Tensor) -> Tensor:
    """Return asinh: of |x|, with the sign behind, so that nothing cancels."""
    size = value.abs()
    return value.sign() * (size + (size.square() + 1).sqrt()).log()


def atan2(y: Tensor, x: Tensor) -> Tensor:
    """Return the angle of (x, y): ONNX Runtime has float32's, which one step of Newton makes float64's."""
    none = (x == 0) & (y == 0)
    first = torch.ops.aten.atan.default(torch.where(none, 0.0, y / x).float()).to(y.dtype)
    first = torch.where(x < 0, torch.where(y < 0, first - math.pi, first + math.pi), first)
    sine, cosine = first.sin(), first.cos()
    # What is left is an angle of some 1e-7, whose third power is the last that counts.
    left = torch.where(none, 0.0, (y * cosine - x * sine) / (x * cosine + y * sine))
    return first + left - left * left * left / 3


def slice_scatter(
    whole: Tensor, part: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """Put a part in its place between what lies before and behind."""
    size = whole.shape[dim]
    first = 0 if start is None else start
    last = size if end is None or end >= size else end
    first, last = (place + size if place < 0 else place for place in (first, last))
    if step != 1:
        raise NotImplementedError("only slices without steps are written out")
    if first == 0 and last == size:
        return part.expand_as(whole).clone()
    pieces = [whole.narrow(dim, 0, first)] if first else []
    pieces.append(part.expand_as(whole.narrow(dim, first, last - first)))
    if last < size:
        pieces.append(whole.narrow(dim, last, size - last))
    return torch.cat(pieces, dim)


def sort(
    values: Tensor, *, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> tuple[Tensor, Tensor]:
    """Sort; ONNX's TopK, which this becomes, keeps the order of what is equal."""
    del stable
    return torch.ops.aten.sort.default(values, dim, descending)


#: By operator.
TABLE: dict[Any, Callable[..., Any]] = {
    aten.linalg_cholesky_ex.default: cholesky,
    aten.linalg_cholesky.default: lambda matrix, upper=False: cholesky(matrix)[0],
    aten.linalg_solve_triangular.default: solve_triangular,
    aten.cholesky_solve.default: cholesky_solve,
    aten.searchsorted.Tensor: searchsorted,
    aten.cummax.default: cummax,
    aten.asinh.default: asinh,
    aten.atan2.default: atan2,
    aten.slice_scatter.default: slice_scatter,
    aten.sort.stable: sort,
}
