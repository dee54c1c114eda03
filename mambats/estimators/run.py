"""A filter over windows of several streams: events of all of them in the order of time, row by row of the batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.gaussian import Gaussian
from mambats.protocols import Estimator, Innovation, State
from mambats.series import SensorRows

_NEVER = torch.iinfo(torch.int64).max


class Timeline(NamedTuple):
    """Rows of all streams in the order (stamp, order of streams, row), each row of the batch by itself.

    Args:
        names: Of the streams, S, in their order.
        stamps: Of the k-th event, shape (B, K) int64; where there is none, that of the last one.
        mask: Whether there is a k-th event, shape (B, K) bool.
        stream: Which stream it is of, shape (B, K) int64; -1 where there is none.
        row: Which row of that stream, shape (B, K) int64; 0 where there is none.
        places: By stream, which event each of its rows became, shape (B, T) int64; 0 where it has no row.
    """

    names: tuple[str, ...]
    stamps: Tensor
    mask: Tensor
    stream: Tensor
    row: Tensor
    places: dict[str, Tensor]


@dataclass(frozen=True)
class Run:
    """What a filter made of a window.

    Args:
        mean: After each event, shape (B, K, n).
        covariance: After each event, shape (B, K, n, n).
        timeline: Which event that was, and when.
        innovations: By stream that measured, with the axes (B, T) of its rows in front; where there is no row, `used`
            is False and all else 0.
        state: At the end of the window.
    """

    mean: Tensor
    covariance: Tensor
    timeline: Timeline
    innovations: dict[str, Innovation]
    state: State

    def at(self, stream: str) -> Gaussian:
        """Return the estimates right after each row of a stream, shapes (B, T, n) and (B, T, n, n)."""
        place = self.timeline.places[stream]
        batch = torch.arange(place.shape[0], device=place.device)[:, None]
        return Gaussian(self.mean[batch, place], self.covariance[batch, place])

    def log_likelihood(self) -> Tensor:
        """Return the log likelihood of all measurements that were used, nats, shape (B,)."""
        parts = [(told.log_likelihood * told.used).sum(1) for told in self.innovations.values()]
        return torch.stack(parts).sum(0) if parts else self.mean.new_zeros(self.mean.shape[0])


def merge(rows: Mapping[str, SensorRows]) -> Timeline:
    """Put the rows of all streams in one order; equal stamps go by the order of `rows`."""
    names = tuple(rows)
    exists = torch.cat([rows[name].mask for name in names], 1)
    stamps = torch.cat([rows[name].stamps for name in names], 1).masked_fill(~exists, _NEVER)
    lengths = [rows[name].mask.shape[1] for name in names]
    stream = torch.cat([torch.full((length,), i) for i, length in enumerate(lengths)]).to(stamps.device)
    row = torch.cat([torch.arange(length) for length in lengths]).to(stamps.device)
    stamps, order = stamps.sort(dim=1, stable=True)
    count = exists.sum(1)
    longest = int(count.max()) if count.numel() else 0
    mask = torch.arange(longest, device=stamps.device) < count[:, None]
    places = torch.zeros_like(order).scatter_(1, order, torch.arange(order.shape[1]).to(order).expand_as(order))
    places = places.masked_fill(~exists, 0)
    kept = order[:, :longest]
    last = stamps.masked_fill(stamps == _NEVER, 0)[:, :longest].cummax(1).values if longest else stamps[:, :0]
    return Timeline(
        names,
        last,
        mask,
        stream[kept].masked_fill(~mask, -1),
        row[kept].masked_fill(~mask, 0),
        dict(zip(names, places.split(lengths, 1), strict=True)),
    )


def filter_window(
    estimator: Estimator,
    rows: Mapping[str, SensorRows],
    length_ns: int,
    *,
    state: State | None = None,
    noises: Mapping[str, Tensor] | None = None,
) -> Run:
    """Filter a window: predict to each event and update with it, to the end of the window.

    The k-th events of all rows are taken side by side, so that rows with other streams at other times share calls. It
    is the same as `predict` and `update` one event after another, row by row.

    Args:
        estimator: Whose `predict` and `update` are called.
        rows: By stream; a stream that the estimator does not know must have no channels (C = 0): it asks what is known
            at its stamps. Values not observed, and NaN, count as not measured.
        length_ns: Of the window, nanoseconds.
        state: At its start, that of the window before; None for the estimator's own start.
        noises: Covariances of the error of each row by stream, shape (B, T, m, m), instead of the model's.

    Raises:
        ValueError: If no stream is given, one is not known or has another number of channels, or a stamp lies outside
            of the window.
    """
    _check(estimator, rows, length_ns)
    ordered = {name: rows[name] for name in (*estimator.streams, *rows) if name in rows}
    timeline = merge(ordered)
    values = {name: _values(ordered[name]) for name in timeline.names if name in estimator.streams}
    state = estimator.init_state(timeline.mask.shape[0]) if state is None else state
    like = estimator.estimate(state).mean
    elapsed = timeline.stamps.diff(dim=1, prepend=torch.zeros_like(timeline.stamps[:, :1])).to(torch.float64) / 1e9
    means, covariances = list[Tensor](), list[Tensor]()
    told: dict[str, list[tuple[int, Innovation]]] = {name: [] for name in values}
    batch = torch.arange(timeline.mask.shape[0], device=like.device)
    for k in range(timeline.mask.shape[1]):
        state = estimator.predict(state, elapsed[:, k].to(like))
        for name in _present(timeline, k, values):
            here = timeline.stream[:, k] == timeline.names.index(name)
            at = timeline.row[:, k].where(here, 0)
            noise = None if noises is None or name not in noises else noises[name][batch, at]
            state, said = estimator.update(state, name, values[name][batch, at].to(like), noise=noise, mask=here)
            told[name].append((k, said))
        mean, covariance = estimator.estimate(state)
        means.append(mean)
        covariances.append(covariance)
    last = timeline.stamps[:, -1] if timeline.mask.shape[1] else torch.zeros_like(batch)
    state = estimator.predict(state, ((length_ns - last).to(torch.float64) / 1e9).to(like))
    size = like.shape[-1]
    return Run(
        torch.stack(means, 1) if means else like.new_zeros(len(batch), 0, size),
        torch.stack(covariances, 1) if means else like.new_zeros(len(batch), 0, size, size),
        timeline,
        {name: _by_row(told[name], timeline.places[name], ordered[name].mask, values[name].to(like)) for name in told},
        state,
    )


def _present(timeline: Timeline, k: int, values: Mapping[str, Tensor]) -> list[str]:
    """The streams that measured at the k-th event of any row."""
    here = timeline.stream[:, k].unique().tolist()
    return [timeline.names[i] for i in here if i >= 0 and timeline.names[i] in values]


def _values(rows: SensorRows) -> Tensor:
    return rows.values if rows.observed is None else rows.values.masked_fill(~rows.observed, torch.nan)


def _by_row(told: list[tuple[int, Innovation]], places: Tensor, mask: Tensor, values: Tensor) -> Innovation:
    """Innovations of events k, put where the rows are that they came from; no loop and nothing in place."""
    if not told:
        size = (*mask.shape, values.shape[-1])
        zero = values.new_zeros(mask.shape)
        return Innovation(values.new_zeros(size), values.new_zeros(*size, size[-1]), zero, zero, torch.zeros_like(mask))
    events = torch.zeros(1 + max(k for k, _ in told), dtype=torch.int64, device=places.device)
    events[torch.tensor([k for k, _ in told], device=places.device)] = torch.arange(len(told), device=places.device)
    which = events[places.where(mask, 0).clamp_max(len(events) - 1)]
    batch = torch.arange(len(places), device=places.device)[:, None]

    def gather(parts: list[Tensor]) -> Tensor:
        made = torch.stack(parts)[which, batch]
        keep = mask.reshape(*mask.shape, *(1,) * (made.dim() - 2))
        return torch.where(keep, made, torch.zeros_like(made))

    return Innovation(*(gather([said[field] for _, said in told]) for field in range(5)))


def _check(estimator: Estimator, rows: Mapping[str, SensorRows], length_ns: int) -> None:
    if not rows:
        raise ValueError(
            f"rows is empty: give at least one stream of {', '.join(estimator.streams)}, or one that asks."
        )
    for name, given in rows.items():
        channels = given.values.shape[-1]
        if name not in estimator.streams and channels:
            raise ValueError(
                f"stream {name!r} is not known, there are {', '.join(estimator.streams)}: rename it, or give it no "
                "channels if it only asks for estimates."
            )
        if name in estimator.streams and channels not in (0, estimator.streams[name]):
            raise ValueError(f"stream {name!r} has {channels} channels, the model measures {estimator.streams[name]}.")
        stamps = given.stamps[given.mask]
        if stamps.numel() and not (0 <= int(stamps.min()) and int(stamps.max()) <= length_ns):
            raise ValueError(
                f"stamps of stream {name!r} go from {int(stamps.min())} to {int(stamps.max())} ns, needed 0 to "
                f"length_ns = {length_ns}: they count from the start of the window."
            )
