"""What goes wrong with sensors: off, stuck, delayed, miscalibrated. One and the same in training and in every test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from mambats.preprocess.imu import so3
from mambats.series import SensorRows, SensorWindow

Kind = Literal["off", "stuck", "delayed", "miscalibrated"]
#: Columns that turn with a sensor's mount, three at a time.
_VECTORS = {"imu": (0, 3), "gnss": (0,)}


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong with one sensor.

    off: no rows any more; stuck: the values of the last row before, again and again; delayed: every stamp is later than
    it should be, and what comes after the window's end is lost; miscalibrated: the sensor sits turned about an axis
    that nobody knows, drawn at random. Positions turn about the window's first one; wheels keep the part along their
    own axes, cos of the angle times speed and yaw rate for an axis across.

    Args:
        kind: What.
        stream: Of which sensor.
        size: Delay in seconds, or angle in degrees; not read by off and stuck.
        begin: When off and stuck begin, as a share of the window in [0, 1).

    Raises:
        ValueError: If the kind is unknown, a size negative, or `begin` outside [0, 1).
    """

    kind: Kind
    stream: str
    size: float = 0.0
    begin: float = 0.0

    def __post_init__(self) -> None:
        """Check numbers."""
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind is {self.kind!r}: choose one of {', '.join(get_args(Kind))}.")
        if not self.size >= 0 or not 0 <= self.begin < 1:
            raise ValueError(f"{self}: size must be 0 or more and begin in [0, 1).")

    @property
    def label(self) -> str:
        """What it is called in a table."""
        unit = {"delayed": f" {1000 * self.size:.0f} ms", "miscalibrated": f" {self.size:g} deg"}.get(self.kind, "")
        return f"{self.stream} {self.kind}{unit}"

    def __call__(self, window: SensorWindow, generator: torch.Generator) -> SensorWindow:
        """Return the window with this fault in every series.

        Args:
            window: Batch of B windows.
            generator: Draws the axes of miscalibration; on the CPU.

        Raises:
            ValueError: If the window lacks the stream, or its columns cannot be turned.
        """
        if self.stream not in window.streams:
            raise ValueError(f"the window has no stream {self.stream!r}, it has {sorted(window.streams)}.")
        rows = window.streams[self.stream]
        size = torch.full((len(window),), self.size, dtype=torch.float64, device=rows.stamps.device)
        begin = torch.full_like(size, self.begin)
        return _with(window, self.stream, apply(rows, self.stream, self.kind, size, begin, window.length_ns, generator))


@dataclass(frozen=True)
class RandomFaults:
    """Draw a fault for each series of a batch: what a model must see in training to notice it later.

    Args:
        healthy: Share of series that keep all their sensors.
        delay: Longest delay, s.
        angle: Largest angle, degrees.
        throughout: Share of off and stuck that hold from the window's start; others begin at any time. With 0.3 one
            drive in seventy lacked its wheels from the start, and there the learned model lost to the filter by 4 %.
    """

    healthy: float = 0.35
    delay: float = 0.25
    angle: float = 8.0
    throughout: float = 0.6

    def __call__(self, window: SensorWindow, generator: torch.Generator) -> SensorWindow:
        """Return the window with at most one fault a series; the generator is on the CPU."""
        batch, names, kinds = len(window), list(window.streams), get_args(Kind)
        device = window.starts.device
        healthy, late, begin, amount = torch.rand((4, batch), generator=generator, dtype=torch.float64).to(device)
        choice = torch.randint(len(names) * len(kinds), (batch,), generator=generator).to(device)
        choice = torch.where(healthy < self.healthy, -1, choice)
        begin = torch.where(late < self.throughout, 0.0, begin)
        for number, kind in enumerate(kinds):
            for place, name in enumerate(names):
                struck = choice == number * len(names) + place
                size = amount * (self.delay if kind == "delayed" else self.angle)
                rows = window.streams[name]
                changed = apply(rows, name, kind, size, begin, window.length_ns, generator)
                window = _with(window, name, _choose(struck, changed, rows))
        return window


def standard_faults(streams: tuple[str, ...] = ("imu", "gnss", "wheel")) -> list[Fault]:
    """The rows of the degradation table: each sensor off, stuck from a third on, 100 ms late, turned by 1 and 5 deg."""
    faults = list[Fault]()
    for name in streams:
        faults += [Fault("off", name), Fault("stuck", name, begin=1 / 3), Fault("delayed", name, 0.1)]
        faults += [Fault("miscalibrated", name, 1.0), Fault("miscalibrated", name, 5.0)]
    return faults


def apply(
    rows: SensorRows, stream: str, kind: Kind, size: Tensor, begin: Tensor, length_ns: int, generator: torch.Generator
) -> SensorRows:
    """Return the rows of one stream with a fault whose size and beginning (B,) differ from series to series."""
    after = rows.stamps >= (begin * length_ns)[:, None]
    match kind:
        case "off":
            return _kept(rows, rows.mask & ~after)
        case "stuck":
            return replace(rows, values=_held(rows, after))
        case "delayed":
            late = replace(rows, stamps=rows.stamps + (size * 1e9).round().long()[:, None])
            return _kept(late, late.mask & (late.stamps <= length_ns))
        case "miscalibrated":
            return replace(rows, values=_turned(rows, stream, torch.deg2rad(size), generator))


def _held(rows: SensorRows, after: Tensor) -> Tensor:
    """Values (B, T, C), from `after` on those of the last row before; the first row's where there is none."""
    place = torch.arange(rows.mask.shape[1], device=rows.mask.device).expand(rows.mask.shape)
    last = torch.where(rows.mask & ~after, place, 0).amax(1)
    held = rows.values.gather(1, last[:, None, None].expand(-1, 1, rows.values.shape[2]))
    return torch.where((after & rows.mask)[..., None], held, rows.values)


def _turned(rows: SensorRows, stream: str, angle: Tensor, generator: torch.Generator) -> Tensor:
    """Values (B, T, C) of a sensor turned by angles (B,) in radians about random axes."""
    axis = torch.randn((len(angle), 3), generator=generator).to(rows.values)
    turn = so3.matrix(so3.exponential(axis / axis.norm(dim=-1, keepdim=True) * angle.to(axis)[:, None]))
    if stream == "wheel":
        return rows.values * torch.stack([turn[:, 0, 0], turn[:, 2, 2]], -1)[:, None]
    if stream not in _VECTORS:
        raise ValueError(
            f"do not know how the columns of {stream!r} turn: known are {', '.join([*_VECTORS, 'wheel'])}."
        )
    first = rows.mask.int().argmax(1)[:, None, None].expand(-1, 1, rows.values.shape[2])
    centre = rows.values.gather(1, first) if stream == "gnss" else torch.zeros_like(rows.values[:, :1])
    parts = [(rows.values - centre)[..., at : at + 3] @ turn.mT for at in _VECTORS[stream]]
    return torch.where(rows.mask[..., None], torch.cat(parts, -1) + centre, rows.values)


def _kept(rows: SensorRows, mask: Tensor) -> SensorRows:
    """Rows with another mask; what is not there is zero."""
    observed = None if rows.observed is None else rows.observed & mask[..., None]
    return replace(
        rows, values=rows.values * mask[..., None], mask=mask, gaps=rows.gaps * mask, stamps=rows.stamps * mask,
        observed=observed,
    )  # fmt: skip


def _choose(which: Tensor, one: SensorRows, other: SensorRows) -> SensorRows:
    """Rows of `one` in the series `which` (B,), of `other` elsewhere."""
    flat, deep = which[:, None], which[:, None, None]
    observed = None
    if one.observed is not None and other.observed is not None:
        observed = torch.where(deep, one.observed, other.observed)
    return replace(
        other,
        values=torch.where(deep, one.values, other.values),
        mask=torch.where(flat, one.mask, other.mask),
        gaps=torch.where(flat, one.gaps, other.gaps),
        stamps=torch.where(flat, one.stamps, other.stamps),
        observed=observed,
    )


def _with(window: SensorWindow, name: str, rows: SensorRows) -> SensorWindow:
    return replace(window, streams={**window.streams, name: rows})
