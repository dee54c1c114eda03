"""Outages of the satellites: how far off is a filter when the first fix comes again, and does it know?"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from mambats.estimators.inertial import NavigationState, NavigationTrack
from mambats.gaussian import Gaussian
from mambats.odometry.ins.drive import Drive
from mambats.series import SensorRows

_SLACK = 200_000_000  # ns; fixes come every 0.997 to 1.002 s: the last of a window must not fall out


class Runner(Protocol):
    """A filter, or one whose noise is learned."""

    def run(self, rows: dict[str, SensorRows], length_ns: int, state: Any = None) -> tuple[NavigationTrack, Any]:
        """Filter a batch of windows."""
        ...


class Outage(NamedTuple):
    """What came of W windows without fixes.

    Args:
        error: Position at the last fix of the outage less that fix, shape (W, 3), m.
        covariance: Of the position there, shape (W, 3, 3), m^2.
    """

    error: Tensor
    covariance: Tensor

    def nees(self, fix: float) -> Tensor:
        """Squared errors in deviations over 3, shape (W,); `fix` is the standard deviation of a fix, m."""
        wide = self.covariance + fix**2 * torch.eye(3).to(self.covariance)
        return (self.error[:, None] @ torch.linalg.solve(wide, self.error[..., None])).flatten() / 3


def join(states: list[Any]) -> Any:
    """Stack states (any NamedTuple tree) along the batch."""
    first = states[0]
    if isinstance(first, Tensor):
        return torch.cat(states)
    parts = [join(list(column)) for column in zip(*states, strict=True)]
    return type(first)(*parts) if hasattr(first, "_fields") else tuple(parts)


def follow(model: Runner, drive: Drive, state: Any, rolling_ns: int | None, until: int) -> list[Any]:
    """Filter a drive with all fixes; return the states behind the second fix (`state`), the third and so on.

    Args:
        model: The filter.
        drive: With fixes.
        state: At the second fix, batch of one.
        rolling_ns: Period of the non-holonomic constraint, or None for none.
        until: Number of the last fix.
    """
    clock, states = drive.fix_clock, [state]
    for k in range(1, until):
        length = int(clock[k + 1] - clock[k])
        state = model.run(drive.window(clock[k : k + 1], length, rolling_ns=rolling_ns), length, state)[1]
        states.append(state)
    return states


def windows(drive: Drive, first: int, last: int, seconds: int) -> Tensor:
    """Return the numbers of all fixes from `first` on after which an outage ends not later than fix `last`."""
    ends = drive.fix_clock[first : last + 1] + seconds * 10**9 + _SLACK
    return torch.arange(first, last + 1, device=ends.device)[ends <= drive.fix_clock[last] + _SLACK + 10**8]


def outages(
    model: Runner, drive: Drive, states: list[Any], which: Tensor, seconds: int, rolling_ns: int | None
) -> Outage:
    """Take the fixes away for some seconds behind each of many fixes, all windows side by side.

    Args:
        model: The filter.
        drive: With fixes.
        states: What `follow` returned.
        which: Numbers of the fixes after which there are none, shape (W,).
        seconds: Length of the outage; the fix at its end is what is scored against.
        rolling_ns: As of `follow`.
    """
    length = seconds * 10**9 + _SLACK
    none = torch.zeros(len(which), len(drive.fixes), dtype=torch.bool, device=which.device)
    rows = drive.window(drive.fix_clock[which], length, none, rolling_ns)
    track = model.run(rows, length, join([states[k - 1] for k in which.tolist()]))[0]
    last = rows["ask"].mask.sum(1, keepdim=True) - 1
    stamp = rows["ask"].stamps.gather(1, last)
    mean = forecast(track, stamp)
    fix = drive.fixes[torch.searchsorted(drive.fix_clock, drive.fix_clock[which] + stamp[:, 0])]
    return Outage(mean.mean[:, 0] - fix, mean.covariance[:, 0])


def forecast(track: NavigationTrack, stamps: Tensor) -> Gaussian:
    """Return the position at moments of a track, (B, Q, 3)."""
    at = track.at(stamps).clamp_min(0)
    rows = torch.arange(len(at), device=at.device)[:, None]
    return Gaussian(track.position[rows, at], track.covariance[rows, at][..., 6:9, 6:9])


def began(model: Any, drive: Drive) -> NavigationState:
    """Return the state at the second fix, of a car that drives to the third one."""
    from mambats.estimators.inertial import align

    clock = drive.fix_clock
    elapsed = (clock[2:3] - clock[1:2]).double() * 1e-9
    force = drive.window(clock[1:2], int(clock[2] - clock[1]))["imu"].values[..., 3:].mean(1)
    quaternion, velocity = align.driving(force, drive.fixes[1:2], drive.fixes[2:3], elapsed)
    return model.aligned(quaternion, velocity, drive.fixes[1:2])
