"""A drive with an inertial unit and satellite fixes, cut into windows with and without fixes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from mambats.estimators.inertial import centred
from mambats.series import Recording, SensorRows


@dataclass(frozen=True)
class Drive:
    """One recording as tensors; clocks in nanoseconds since its first fix.

    Args:
        clock: Of the inertial unit, shape (N,) int64, put to the middle of what each reading holds.
        readings: Shape (N, 6), rad/s and m/s^2.
        measured: Which were measured and not drawn as a straight line through a hole, shape (N,) bool.
        fix_clock: Of the fixes, shape (M,) int64.
        fixes: Shape (M, 3), m.
    """

    clock: Tensor
    readings: Tensor
    measured: Tensor
    fix_clock: Tensor
    fixes: Tensor

    @classmethod
    def of(cls, recording: Recording) -> Self:
        """Take streams `imu` and `gnss` of a recording.

        Raises:
            ValueError: If one is missing.
        """
        if missing := [name for name in ("imu", "gnss") if name not in recording.streams]:
            raise ValueError(f"recording {recording.name!r} lacks {missing}: needed imu and gnss.")
        imu, gnss = recording.streams["imu"], recording.streams["gnss"]
        start = int(gnss.stamps[0])
        clock, fix_clock = (torch.from_numpy(s.stamps - start) for s in (imu, gnss))
        readings = torch.as_tensor(imu.values, dtype=torch.float64)
        rows = centred(_rows(readings[None], clock[None]))
        measured = ~_straight(readings)
        return cls(rows.stamps[0], readings, measured, fix_clock, torch.as_tensor(gnss.values, dtype=torch.float64))

    def to(self, device: torch.device | str) -> Self:
        """Return the same drive on another device."""
        return replace(self, **{name: getattr(self, name).to(device) for name in self.__dataclass_fields__})

    def window(
        self, starts: Tensor, length_ns: int, given: Tensor | None = None, rolling_ns: int | None = None
    ) -> dict[str, SensorRows]:
        """Cut windows.

        Args:
            starts: Shape (B,) int64 nanoseconds.
            length_ns: Of each.
            given: Which fixes each window is given, shape (B, M) bool; None gives all. At the others a stream `ask` of
                no channels asks for the state.
            rolling_ns: Period of the rows of zeros that say that the car rolls (stream `rolling`); None for none.
        """
        rows = {"imu": _cut(self.clock, torch.cat([self.readings, self.measured[:, None]], -1), starts, length_ns)}
        told = rows["imu"].values
        seen = (told[..., 6:] > 0).expand(-1, -1, 6)
        rows["imu"] = replace(rows["imu"], values=told[..., :6].contiguous(), observed=seen)
        fixes = _cut(self.fix_clock, self.fixes, starts, length_ns)
        rows["ask"] = _rows(fixes.values[..., :0], fixes.stamps, fixes.mask)
        if given is None:
            rows["gnss"] = fixes
        elif bool(given.any()):
            place = _places(self.fix_clock, starts, fixes.mask.shape[1])
            told = given.gather(1, place.clamp_max(given.shape[1] - 1)) & fixes.mask
            rows["gnss"] = _rows(torch.where(told[..., None], fixes.values, 0.0), fixes.stamps, told)
        if rolling_ns is not None:
            stamps = torch.arange(rolling_ns, length_ns + 1, rolling_ns, device=starts.device).expand(len(starts), -1)
            rows["rolling"] = _rows(self.fixes.new_zeros(*stamps.shape, 2), stamps)
        return rows


def _straight(readings: Tensor) -> Tensor:
    """Which rows (N,) lie on a straight line with ten others, in all channels: a logger has filled a hole."""
    bend = (readings[2:] - 2 * readings[1:-1] + readings[:-2]).abs().amax(-1)
    flat = torch.nn.functional.pad((bend < 1e-4).double(), (1, 1))
    # A window of eleven whose middle rows all are flat makes all of them straight.
    whole = -torch.nn.functional.max_pool1d(-flat[None, None], 9, 1, 4)
    return torch.nn.functional.max_pool1d(whole, 11, 1, 5)[0, 0] > 0


def _rows(values: Tensor, stamps: Tensor, mask: Tensor | None = None) -> SensorRows:
    there = torch.ones_like(stamps, dtype=torch.bool) if mask is None else mask
    return SensorRows(values, there, torch.ones(stamps.shape, device=stamps.device), stamps)


def _places(clock: Tensor, starts: Tensor, width: int) -> Tensor:
    """Rows with start < time, (B, width)."""
    return torch.searchsorted(clock, starts, right=True)[:, None] + torch.arange(width, device=clock.device)


def _cut(clock: Tensor, values: Tensor, starts: Tensor, length_ns: int) -> SensorRows:
    """Rows with start < time <= start + length."""
    count = torch.searchsorted(clock, starts + length_ns, right=True) - torch.searchsorted(clock, starts, right=True)
    place = _places(clock, starts, int(count.max()))
    mask = torch.arange(place.shape[1], device=clock.device) < count[:, None]
    place = place.clamp_max(len(clock) - 1)
    cut = torch.where(mask[..., None], values[place], 0.0)
    return _rows(cut, torch.where(mask, clock[place] - starts[:, None], 0), mask)
