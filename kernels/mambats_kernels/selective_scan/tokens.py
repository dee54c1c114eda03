"""The inputs of the chunked scan, folded: time first, then rows, groups, states, and channels innermost.

L tokens of a run, R = B * S rows (each of S runs of a sequence is a row), G groups, N states, P = D / G channels of a
group.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from mambats_kernels.selective_scan.plan import Plan, fold


class Tokens(NamedTuple):
    """What h = keep * exp(span A) h + weight u B, y = C h needs of every token.

    Attributes:
        span: delta times gap, shape (L, R, G, 1, P).
        u: delta * x (event) or x (hold), shape (L, R, G, 1, P).
        a: A, shape (G, N, P).
        b: Input weights, shape (L, R, G, N, 1).
        c: Output weights, shape (L, R, G, 1, N).
        keep: 0 where a packed sequence begins, else 1, shape (L, R, 1, 1, 1); None if not packed.
        begin: Token at which each packed sequence begins, in walking order, shape (n,); -1 if it is empty.
        end: Its last token, likewise.
        start: Initial states of packed sequences, shape (n, G, N, P); None for zeros or if not packed.
        hold: Whether weight is expm1(span A) / A instead of 1.
    """

    span: Tensor
    u: Tensor
    a: Tensor
    b: Tensor
    c: Tensor
    keep: Tensor | None
    begin: Tensor | None
    end: Tensor | None
    start: Tensor | None
    hold: bool


class Found(NamedTuple):
    """Packed sequences whose token lies in a block: their numbers, its rows in (K * R, ...), and 1 if truly there."""

    sequence: Tensor
    place: Tensor
    there: Tensor


def fold_tokens(
    span: Tensor,
    u: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    start: Tensor | None,
    borders: Tensor | None,
    cut: Plan,
    hold: bool,
    reverse: bool,
) -> Tokens:
    """Fold span, u (B, T, D), A (D, N), B, C (B, T, G, N); borders (2, n): first and last token of packed sequences."""
    groups = B.shape[2]
    u, span = (fold(v, cut, reverse).unflatten(-1, (groups, 1, -1)) for v in (u, span))
    b, c = fold(B, cut, reverse).unsqueeze(-1), fold(C, cut, reverse).unsqueeze(-2)
    a = fold_state(A.unsqueeze(0), groups)[0]
    if hold:  # the weight's limit for A = 0 is span, and -1e-20 gives just that in float32
        a = torch.where(a.abs() < 1e-20, torch.full_like(a, -1e-20), a)
    if borders is None:
        return Tokens(span, u, a, b, c, None, None, None, None, hold)
    begin, end = borders
    if reverse:
        begin, end = (torch.where(edge < 0, edge, B.shape[1] - 1 - edge) for edge in (begin, end))
    # Position T is spare: the begin of an empty sequence is written there.
    keep = span.new_ones(cut.runs * cut.length + 1)
    keep.index_fill_(0, torch.where(begin < 0, keep.shape[0] - 1, begin), 0.0)
    keep = fold(keep[None, :-1], cut, False).view(cut.length, -1, 1, 1, 1)
    return Tokens(span, u, a, b, c, keep, begin, end, start, hold)


def fold_state(state: Tensor, groups: int) -> Tensor:
    """Bring (R, D, N) to (R, G, N, P), contiguous: channels innermost are what vector units want."""
    return state.unflatten(1, (groups, -1)).transpose(-1, -2).contiguous()


def unfold_state(state: Tensor) -> Tensor:
    """Undo `fold_state`: (R, G, N, P) to (R, D, N)."""
    return state.transpose(-1, -2).flatten(1, 2).contiguous()


def on_cpu(tensor: Tensor) -> bool:
    """Whether values may be read without waiting, and matrix products keep their precision."""
    return tensor.device.type == "cpu"


def multiply(left: Tensor, right: Tensor, out: Tensor) -> None:
    """Fill `out` with the products of (M, i, k) and (M, k, j), where i or j is 1.

    Elsewhere than on a CPU a matrix product may round to TF32 if the process allows it, which costs two digits.
    """
    if on_cpu(left):
        torch.bmm(left, right, out=out)
    elif left.shape[1] == 1:
        torch.sum(left.mT * right, 1, keepdim=True, out=out)
    else:
        torch.sum(left * right.mT, 2, keepdim=True, out=out)


def find(position: Tensor, lo: int, hi: int, cut: Plan) -> Found:
    """Find which of the tokens (n,) lie at lo <= step < hi of their run; -1 lies nowhere."""
    run, step = position.div(cut.length, rounding_mode="floor"), position % cut.length
    there = (position >= 0) & (step >= lo) & (step < hi)
    place = (step - lo) * cut.runs + run
    if on_cpu(position):  # elsewhere, asking how many there are would wait for the device
        sequence = there.nonzero().squeeze(1)
        return Found(sequence, place[sequence], there.new_ones((), dtype=torch.float32))
    sequence = torch.arange(position.shape[0], device=position.device)
    return Found(sequence, torch.where(there, place, 0), there.view(-1, 1, 1, 1).float())
