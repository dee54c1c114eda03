"""The door of fusion encoders: what comes in is looked at, and every stream gets its place."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mambats.encoders.compact import blank_removed
from mambats.protocols import Event
from mambats.series import SensorRows
from mambats_kernels.checks import looks_at


def check_streams(streams: Mapping[str, int], width: int, layers: int, period_ns: int) -> None:
    """Refuse sizes that make no fusion encoder.

    Raises:
        ValueError: If there is no stream, a number of channels is below 0, or a size below 1.
    """
    if not streams or min(streams.values()) < 0 or max(streams.values()) < 1:
        raise ValueError(
            f"streams is {dict(streams)}: need channels by name, at least one stream that measures, and 0 channels "
            "for one that only asks."
        )
    if min(width, layers, period_ns) < 1:
        raise ValueError(
            f"width is {width}, layers {layers}, period_ns {period_ns}: need at least 1. "
            "period_ns is the reference period in nanoseconds: 10_000_000 for 100 Hz."
        )


def check_share(name: str, share: float) -> None:
    """Refuse a share to drop that is not in [0, 1).

    Raises:
        ValueError: Naming it.
    """
    if not 0 <= share < 1:
        raise ValueError(f"{name} is {share}: need a share in [0, 1).")


def line_up(
    streams: Mapping[str, int], rows: Mapping[str, SensorRows], length_ns: int, like: Tensor, batch: int | None
) -> tuple[SensorRows, ...]:
    """Check the rows of a window and put them in the order of `streams`; a stream not given has no rows.

    Args:
        streams: Channels by name.
        rows: By stream, any subset.
        length_ns: Of the window.
        like: A parameter: device and dtype of what is made up.
        batch: Of the carried state, or None.

    Returns:
        One of each stream: values (B, T, C) are 0 in removed rows.

    Raises:
        ValueError: If a stream is unknown, shapes do not fit, or, on a CPU or with MAMBATS_CHECK=1, stamps fall or lie
            outside the window.
    """
    _known(streams, rows)
    if length_ns < 0:
        raise ValueError(f"length_ns is {length_ns}: need nanoseconds, at least 0.")
    for name, given in rows.items():
        _check_rows(name, streams[name], given)
        batch = given.mask.shape[0] if batch is None else batch
        if given.mask.shape[0] != batch:
            raise ValueError(
                f"{name} has batch {given.mask.shape[0]}, the state or another stream {batch}: need the same series. "
                "Mask the rows of series in which a stream is missing."
            )
        _check_stamps(name, given, length_ns)
    if batch is None:
        raise ValueError("rows names no stream and there is no state: need one of them to know the batch.")
    return tuple(
        _blanked(name, rows[name]) if name in rows else _nothing(batch, channels, like)
        for name, channels in streams.items()
    )


def pick_events(
    streams: Mapping[str, int], events: Mapping[str, Event], elapsed_ns: Tensor, batch: int
) -> list[tuple[int, str, Event]]:
    """Check what was measured at one moment; return (number, name, event) in the order of `streams`.

    Values of absent rows become 0.

    Raises:
        ValueError: As `line_up`; and if time runs backwards.
    """
    _known(streams, events)
    if elapsed_ns.dtype != torch.int64 or elapsed_ns.shape != (batch,):
        raise ValueError(
            f"elapsed_ns is {elapsed_ns.dtype} of shape {tuple(elapsed_ns.shape)}: need int64 of shape ({batch},), "
            "nanoseconds since the step before, one for each row of the state."
        )
    if looks_at(elapsed_ns) and bool((elapsed_ns < 0).any()):
        raise ValueError(f"elapsed_ns is {elapsed_ns.tolist()[:8]}: need at least 0. Give events in the order of time.")
    return [
        (number, name, _checked_event(name, channels, events[name], batch))
        for number, (name, channels) in enumerate(streams.items())
        if name in events
    ]


def _known(streams: Mapping[str, int], given: Mapping[str, object]) -> None:
    for name in given:
        if name not in streams:
            raise ValueError(
                f"there is no stream {name!r}: this encoder reads {', '.join(streams)}. "
                "Name one of them, or build the encoder with it."
            )


def _check_rows(name: str, channels: int, rows: SensorRows) -> None:
    values, mask = rows.values, rows.mask
    if values.dim() != 3 or values.shape[2] != channels:
        raise ValueError(
            f"{name} has values of shape {tuple(values.shape)}: this encoder reads (B, T, {channels}). "
            "Select the channels; put a feature extractor before tables and images."
        )
    if not values.dtype.is_floating_point:
        raise ValueError(f"{name} has values of {values.dtype}: need a float dtype. Convert them first.")
    needs = (("mask", mask, torch.bool), ("stamps", rows.stamps, torch.int64))
    for what, given, dtype in needs:
        if given.shape != values.shape[:2] or given.dtype != dtype:
            raise ValueError(
                f"{name} has {what} of {given.dtype}, shape {tuple(given.shape)}: need {dtype} of shape "
                f"{tuple(values.shape[:2])}."
            )
    _check_observed(name, values, rows.observed)


def _check_observed(name: str, values: Tensor, observed: Tensor | None) -> None:
    if observed is not None and (observed.shape != values.shape or observed.dtype != torch.bool):
        raise ValueError(
            f"{name} has observed of {observed.dtype}, shape {tuple(observed.shape)}: need torch.bool of the values' "
            f"shape {tuple(values.shape)}."
        )


def _check_stamps(name: str, rows: SensorRows, length_ns: int) -> None:
    """Refuse kept stamps that fall or lie outside the window, where values may be read."""
    if not looks_at(rows.stamps):
        return
    stamps = torch.where(rows.mask, rows.stamps, -1).cummax(1).values
    falls = rows.mask & (rows.stamps < stamps)
    outside = rows.mask & ((rows.stamps < 0) | (rows.stamps > length_ns))
    for wrong, what, remedy in (
        (outside, f"lies outside the window of {length_ns} ns", "Count stamps from the window's start."),
        (falls, "falls", "Sort the rows by time."),
    ):
        if bool(wrong.any()):
            b, t = (int(k) for k in wrong.nonzero()[0])
            raise ValueError(f"{name}: stamp {int(rows.stamps[b, t])} of row ({b}, {t}) {what}. {remedy}")


def _check_numbers(name: str, values: Tensor, observed: Tensor | None) -> None:
    """Refuse observed values that are no numbers, where values may be read: one would stay in the state for ever."""
    if not looks_at(values):
        return
    read = values.detach() if observed is None else torch.where(observed, values.detach(), 0)
    if bool(read.sum().isfinite()):
        return
    wrong = ~read.isfinite()
    if bool(wrong.any()):  # else the sum of large numbers alone was too large
        place = tuple(int(k) for k in wrong.nonzero()[0])
        raise ValueError(
            f"{name} has {int(wrong.sum())} observed values that are NaN or infinite, the first at {place}: need "
            "numbers. Say what was not measured with observed False, or mask the row."
        )


def _blanked(name: str, rows: SensorRows) -> SensorRows:
    """Put zeros where a row is absent, whose values may be NaN; what is left must be numbers."""
    values = blank_removed(rows.values, rows.mask)
    _check_numbers(name, values, rows.observed)
    return SensorRows(values, rows.mask, rows.gaps, rows.stamps, rows.observed)


def _nothing(batch: int, channels: int, like: Tensor) -> SensorRows:
    mask = torch.zeros((batch, 0), dtype=torch.bool, device=like.device)
    return SensorRows(
        like.new_zeros((batch, 0, channels)),
        mask,
        like.new_zeros((batch, 0)),
        torch.zeros_like(mask, dtype=torch.int64),
    )


def _checked_event(name: str, channels: int, event: Event, batch: int) -> Event:
    values, observed, mask = event
    if values.shape != (batch, channels) or not values.dtype.is_floating_point:
        raise ValueError(
            f"{name} has values of {values.dtype}, shape {tuple(values.shape)}: need floats of shape "
            f"({batch}, {channels}), one row for each row of the state."
        )
    _check_observed(name, values, observed)
    if mask is None:
        _check_numbers(name, values, observed)
        return event
    if mask.shape != (batch,) or mask.dtype != torch.bool:
        raise ValueError(
            f"{name} has a mask of {mask.dtype}, shape {tuple(mask.shape)}: need torch.bool of shape ({batch},)."
        )
    values = blank_removed(values, mask)
    _check_numbers(name, values, observed)
    return Event(values, observed, mask)
