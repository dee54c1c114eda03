"""Where packed sequences begin and end, as tensors on the device: no value is ever read by the host."""

from typing import NamedTuple

import torch
from torch import Tensor


class Segments(NamedTuple):
    """Layout of n sequences packed one after the other into T tokens, seen in the order in which a scan walks.

    Attributes:
        row: Sequence of each token, shape (T,) int64; n for the ignored tail.
        place: How many tokens of its own sequence the scan saw before this one, shape (T,) int64.
        entry: True where a sequence's initial state enters, shape (T,) bool.
        enter: Token before which a sequence's initial state enters, shape (n,) int64, in [0, T) even if it is empty.
        leave: Token after which a sequence's final state is read, likewise.
        length: Tokens of each sequence, shape (n,) int64.
        inside: True for tokens that belong to a sequence, shape (T,) bool.
    """

    row: Tensor
    place: Tensor
    entry: Tensor
    enter: Tensor
    leave: Tensor
    length: Tensor
    inside: Tensor


def segments(cu_seqlens: Tensor, tokens: int, reverse: bool = False) -> Segments:
    """Locate every token of a packed batch without waiting for the device.

    Args:
        cu_seqlens: Borders, shape (n+1,), non-falling from 0; the last may be under `tokens` (the tail is ignored).
        tokens: T, the length of the packed axis.
        reverse: True if the scan walks from the last token to the first.

    Returns:
        The `Segments` on the device of `cu_seqlens`.
    """
    cu = cu_seqlens.to(torch.int64)
    end = cu[1:]
    t = torch.arange(tokens, device=cu.device)
    row = torch.searchsorted(end.contiguous(), t, right=True)  # empty sequences end at or before t: skipped
    inside = row < end.shape[0]
    # A border of T behind the real ones serves the tail's tokens, so that no index leaves its range.
    bounds = torch.cat([cu, cu.new_full((1,), tokens)])
    place = bounds[row + 1] - 1 - t if reverse else t - bounds[row]
    first, last = (edge.clamp(0, max(tokens - 1, 0)) for edge in (cu[:-1], end - 1))
    enter, leave = (last, first) if reverse else (first, last)
    return Segments(row, place, (place == 0) & inside, enter, leave, end - cu[:-1], inside)


def pad_row(state: Tensor) -> Tensor:
    """Append a row of zeros, so that row n of `Segments.row` reads nothing: (n, ...) -> (n+1, ...)."""
    return torch.cat([state, state.new_zeros((1, *state.shape[1:]))])


def blank_tail(tokens: Tensor, segment: Segments) -> Tensor:
    """Put zeros behind the last sequence, so that whatever lies there reaches neither outputs nor gradients."""
    inside = segment.inside.view(1, -1, *([1] * (tokens.dim() - 2)))
    return torch.where(inside, tokens, torch.zeros_like(tokens))
