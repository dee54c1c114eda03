"""The public hold: checks, and the search by torch operations until a kernel of its own takes their place."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambats_kernels.checks import looks_at, needs_axes, needs_device, needs_shape, shown

# Before every stamp, and far enough from the end of int64 that differences do not wrap.
NEVER = -(2**62)


class Held(NamedTuple):
    """Which token of a source each token of a target sees.

    Attributes:
        place: Its place in the source, shape (B, T) int64; 0 where there is none.
        age: Stamp of the target less stamp of the source, shape (B, T) int64; 0 where there is none.
        found: Whether there is one, shape (B, T) bool.
    """

    place: Tensor
    age: Tensor
    found: Tensor


def hold(
    stamps: Tensor,
    source_stamps: Tensor,
    *,
    ties: bool | Tensor,
    source_mask: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    source_cu_seqlens: Tensor | None = None,
) -> Held:
    """Find for every token of a target stream the last token of a source stream before it.

    Streams have an order, which settles who comes first among equal stamps: with `ties` a source token of the same
    stamp stands before the target's (the source comes first in the order), without it does not. Nothing waits for the
    device. Not differentiable: what was found is read with `read_held`, which is.

    Args:
        stamps: Of the target, shape (B, T) int64, any unit; any order.
        source_stamps: Of the source, shape (B, S) int64, non-falling where kept; B = 1 for packed sequences.
        ties: Whether equal stamps count, for all, or for each target token, shape (B, T) bool.
        source_mask: Which source tokens exist, shape (B, S) bool, or None where all do. Stamps of others are not read.
        cu_seqlens: Borders of n packed target sequences, shape (n+1,), with B = 1. Behind the last, nothing is found.
        source_cu_seqlens: Borders of the n source sequences, shape (n+1,); sequence k sees sequence k.

    Returns:
        Place, age and flag of what was found.

    Raises:
        ValueError: If a shape, dtype or device does not fit; on a CPU or with MAMBATS_CHECK=1 also if kept source
            stamps fall.

    Example:
        held = hold(torch.tensor([[5, 9]]), torch.tensor([[4, 9]]), ties=False)
        held.age  # tensor([[1, 5]])
    """
    _check(stamps, source_stamps, ties, source_mask, cu_seqlens, source_cu_seqlens)
    none = torch.zeros_like(stamps)
    if source_stamps.shape[1] == 0 or stamps.numel() == 0:
        return Held(none, none, torch.zeros_like(stamps, dtype=torch.bool))
    # Whole numbers: "before t" is "at or before t - 1".
    limit = stamps - (int(not ties) if isinstance(ties, bool) else (~ties).to(torch.int64))
    if cu_seqlens is None or source_cu_seqlens is None:
        keys, latest = _kept(source_stamps, source_mask)
        _check_rising(source_stamps, source_mask, keys)
        count = torch.searchsorted(keys, limit.contiguous(), right=True)
        start = torch.zeros_like(count)
    else:
        row = _rows(cu_seqlens, stamps.shape[1])
        bounds = torch.cat([source_cu_seqlens, source_cu_seqlens[-1:]]).to(torch.int64)
        start, end = bounds[row].unsqueeze(0), bounds[(row + 1).clamp_max(bounds.shape[0] - 1)].unsqueeze(0)
        keys, latest = _kept_packed(source_stamps, source_mask, source_cu_seqlens)
        count = _bisect(keys, limit, start, end)
    last = latest.gather(1, (count - 1).clamp_min(0))
    found = (count > start) & (last >= start)
    index = torch.where(found, last, none)
    return Held(index, torch.where(found, stamps - source_stamps.gather(1, index), none), found)


def read_held(values: Tensor, held: Held) -> Tensor:
    """Read what was found: source values (B, S, D) to (B, T, D), zeros where there was none; differentiable.

    Args:
        values: Of the source, any dtype; shape (1, S, D) for packed sequences.
        held: What `hold` found.

    Raises:
        ValueError: If the batches differ.

    Example:
        read_held(torch.randn(1, 2, 3), hold(torch.tensor([[5]]), torch.tensor([[4, 9]]), ties=False))
    """
    needs_axes("values", values, 3, "(B, S, D)")
    batch, rows, _ = values.shape
    if batch != held.place.shape[0]:
        raise ValueError(
            f"values has shape {shown(values)}, held.place {shown(held.place)}: need the same batch. "
            "Give the stream that was searched."
        )
    if rows == 0:
        return values.new_zeros((*held.place.shape, values.shape[2]))
    # One flat index: its gradient has a deterministic form on every device, that of a gather has not.
    flat = held.place + rows * torch.arange(batch, device=values.device).unsqueeze(1)
    read = values.flatten(0, 1).index_select(0, flat.flatten()).unflatten(0, held.place.shape)
    return torch.where(held.found.unsqueeze(-1), read, torch.zeros_like(read))


def _kept(stamps: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the newest kept stamp up to each source token, non-falling, and its place (-1: none yet)."""
    place = torch.arange(stamps.shape[1], device=stamps.device).expand_as(stamps)
    if mask is None:
        return stamps.contiguous(), place
    keys = torch.where(mask, stamps, NEVER).cummax(1).values
    return keys, torch.where(mask, place, -1).cummax(1).values


def _kept_packed(stamps: Tensor, mask: Tensor | None, cu_seqlens: Tensor) -> tuple[Tensor, Tensor]:
    """Return the same for packed sequences; stamps of removed tokens are those of the kept one before, or NEVER."""
    place = torch.arange(stamps.shape[1], device=stamps.device).expand_as(stamps)
    if mask is None:
        return stamps, place
    latest = torch.where(mask, place, -1).cummax(1).values
    first = torch.cat([cu_seqlens, cu_seqlens[-1:]])[_rows(cu_seqlens, stamps.shape[1])]
    kept = latest >= first  # else it belongs to a sequence before
    return torch.where(kept, stamps.gather(1, latest.clamp_min(0)), NEVER), latest


def _rows(cu_seqlens: Tensor, tokens: int) -> Tensor:
    """Return the sequence of each token, shape (T,); n for the tail."""
    place = torch.arange(tokens, device=cu_seqlens.device)
    return torch.searchsorted(cu_seqlens[1:].to(torch.int64).contiguous(), place, right=True)


def _bisect(keys: Tensor, limit: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Count from the front the tokens of keys (1, S) up to limit (1, T), each within its [low, high)."""
    high = torch.maximum(low, high)
    for _ in range(keys.shape[1].bit_length()):
        middle = (low + high) // 2
        before = (keys[0][middle.clamp_max(keys.shape[1] - 1)] <= limit) & (low < high)
        low, high = torch.where(before, middle + 1, low), torch.where(before, high, middle)
    return low


def _check_rising(stamps: Tensor, mask: Tensor | None, keys: Tensor) -> None:
    """Refuse kept stamps that fall, where values may be read."""
    if not looks_at(stamps):
        return
    falls = (stamps[:, 1:] < keys[:, :-1]) if mask is None else (stamps[:, 1:] < keys[:, :-1]) & mask[:, 1:]
    if bool(falls.any()):
        b, t = (int(k) for k in falls.nonzero()[0])
        raise ValueError(
            f"source_stamps falls at ({b}, {t + 1}) to {int(stamps[b, t + 1])}, needed stamps that never fall: "
            "sort the rows by time."
        )


def _check(
    stamps: Tensor,
    source_stamps: Tensor,
    ties: bool | Tensor,
    source_mask: Tensor | None,
    cu_seqlens: Tensor | None,
    source_cu_seqlens: Tensor | None,
) -> None:
    needs_axes("stamps", stamps, 2, "(B, T)")
    needs_axes("source_stamps", source_stamps, 2, "(B, S)")
    for name, given in (("stamps", stamps), ("source_stamps", source_stamps)):
        if given.dtype != torch.int64:
            raise ValueError(
                f"{name} is {str(given.dtype)[6:]}, needed int64, which keeps nanoseconds apart: "
                "give times as whole numbers."
            )
    needs_device(stamps.device, {"source_stamps": source_stamps, "source_mask": source_mask})
    needs_shape(
        "source_stamps", source_stamps, (stamps.shape[0], source_stamps.shape[1]), "(B, S)", "batches must match."
    )
    needs_shape("source_mask", source_mask, tuple(source_stamps.shape), "(B, S)", "say of each token if it exists.")
    if isinstance(ties, Tensor):
        needs_shape("ties", ties, tuple(stamps.shape), "(B, T) of stamps", "give one flag a target token.")
    if (cu_seqlens is None) != (source_cu_seqlens is None):
        raise ValueError(
            "only one of cu_seqlens and source_cu_seqlens was given, needed both or none: pack both sides."
        )
    if cu_seqlens is not None and source_cu_seqlens is not None:
        if stamps.shape[0] != 1 or cu_seqlens.shape != source_cu_seqlens.shape:
            raise ValueError(
                f"stamps has shape {shown(stamps)}, cu_seqlens {shown(cu_seqlens)}, source_cu_seqlens "
                f"{shown(source_cu_seqlens)}: packed streams need B = 1 and a source sequence for each of the target."
            )
