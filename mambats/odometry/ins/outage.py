"""Outages of the satellites: how far off is a filter when the first fix comes again, and does it know?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from mambats.estimators.inertial import NavigationState, NavigationTrack
from mambats.gaussian import Gaussian
from mambats.odometry.ins.drive import Drive
from mambats.series import SensorRows
from mambats.series.state import merge_states

_SLACK = 200_000_000  # ns; fixes come every 0.997 to 1.002 s: the last of a window must not fall out


class Runner(Protocol):
    """A filter, or one whose noise is learned."""

    def run(self, rows: dict[str, SensorRows], length_ns: int, state: Any = None) -> tuple[NavigationTrack, Any]:
        """Filter a batch of windows."""
        ...


@dataclass(frozen=True)
class Blackout:
    """How fixes are withheld, in training, validation and test.

    Args:
        given: Seconds of a training window with fixes, before they are lost.
        lost: Seconds without, in training and validation: each fix withheld counts, so all shorter outages do too.
        rolling: Seconds between rows that say that the car rolls (non-holonomic constraint).
        fix: Standard deviation of a fix, m: what the fixes withheld are scored with.

    Raises:
        ValueError: If a number is not positive.
    """

    given: int = 10
    lost: int = 30
    rolling: float = 0.5
    fix: float = 0.1

    def __post_init__(self) -> None:
        """Check numbers."""
        if not min(self.given, self.lost, self.rolling, self.fix) > 0:
            raise ValueError(f"{self}: need numbers above 0.")

    @property
    def rolling_ns(self) -> int:
        """Period of the constraint."""
        return round(self.rolling * 1e9)


class Outage(NamedTuple):
    """What came of W windows without fixes, at each fix that was withheld.

    Args:
        error: Position less fix, shape (W, Q, 3), m.
        covariance: Of the position, shape (W, Q, 3, 3), m^2.
        mask: Which fixes are there, shape (W, Q) bool.
    """

    error: Tensor
    covariance: Tensor
    mask: Tensor

    def end(self) -> Outage:
        """Return the last fix of each window alone, Q = 1."""
        last = self.mask.sum(1) - 1
        rows = torch.arange(len(last), device=last.device)
        return Outage(*(part[rows, last][:, None] for part in self))

    def nees(self, fix: float) -> Tensor:
        """Squared errors in deviations over 3, shape (W, Q); `fix` is the standard deviation of a fix, m."""
        wide = self._wide(fix)
        squared = self.error[..., None, :] @ torch.linalg.solve(wide, self.error[..., None])
        return squared[..., 0, 0] / 3

    def surprise(self, fix: float) -> Tensor:
        """Return minus the mean log likelihood of the fixes withheld, nats a fix.

        No window is let off: where one that is lost weighed little, noise learned to be sure of itself elsewhere, and
        NEES per number rose to 9 (constants) and 27 (an encoder) on the drive held back, from 2.6 by hand.
        """
        told = Gaussian(torch.zeros_like(self.error), self._wide(fix)).nll(self.error)
        return (told * self.mask).sum() / self.mask.sum()

    def scores(self, fix: float) -> dict[str, float]:
        """Score the ends of outages: metres, and NEES over 3 (1 where consistent)."""
        end = self.end()
        error, nees = end.error[:, 0].norm(dim=-1), end.nees(fix)[:, 0]
        found = {
            "position_rmse_m": error.square().mean().sqrt(),
            "position_median_m": error.median(),
            "position_p95_m": error.quantile(0.95),
            "nees_per_dimension": nees.mean(),
            "nees_median": nees.median(),
        }
        return {name: float(value) for name, value in found.items()}

    def _wide(self, fix: float) -> Tensor:
        return self.covariance + fix**2 * torch.eye(3).to(self.covariance)


def join(states: list[Any]) -> Any:
    """Stack states (any NamedTuple tree) along the batch."""
    return merge_states(states, torch.cat)


def follow(
    model: Runner, drive: Drive, state: Any, rolling_ns: int | None, until: int, first: int = 1
) -> dict[int, Any]:
    """Filter a drive with all fixes; return the states behind fix `first` (`state` itself) to fix `until`, by number.

    Args:
        model: The filter.
        drive: With fixes.
        state: Behind fix `first`, batch of one.
        rolling_ns: Period of the non-holonomic constraint, or None for none.
        until: Number of the last fix.
        first: Number of the fix to begin at.
    """
    clock, states = drive.fix_clock, {first: state}
    for k in range(first, until):
        length = int(clock[k + 1] - clock[k])
        state = model.run(drive.window(clock[k : k + 1], length, rolling_ns=rolling_ns), length, state)[1]
        states[k + 1] = state
    return states


def windows(drive: Drive, first: int, last: int, seconds: int) -> Tensor:
    """Return the numbers of all fixes from `first` on after which an outage ends not later than fix `last`."""
    ends = drive.fix_clock[first : last + 1] + seconds * 10**9 + _SLACK
    return torch.arange(first, last + 1, device=ends.device)[ends <= drive.fix_clock[last] + _SLACK + 10**8]


def outages(
    model: Runner,
    drive: Drive,
    states: Mapping[int, Any],
    which: Tensor,
    seconds: int,
    rolling_ns: int | None,
    given: int = 0,
) -> Outage:
    """Take the fixes away for some seconds behind each of many fixes, all windows side by side.

    Args:
        model: The filter.
        drive: With fixes.
        states: What `follow` returned.
        which: Numbers of the fixes at which windows start, shape (W,).
        seconds: Length of the outage; the fix at its end is what is scored against.
        rolling_ns: As of `follow`.
        given: Seconds at a window's start for which fixes still come, before the outage.
    """
    begin, length = drive.fix_clock[which], (given + seconds) * 10**9 + _SLACK
    told = drive.fix_clock <= begin[:, None] + given * 10**9 + _SLACK
    told = told & (drive.fix_clock > begin[:, None])
    rows = drive.window(begin, length, told, rolling_ns)
    track = model.run(rows, length, join([states[k] for k in which.tolist()]))[0]
    ask = rows["ask"]
    place = torch.searchsorted(drive.fix_clock, begin[:, None] + ask.stamps).clamp_max(len(drive.fixes) - 1)
    mean = forecast(track, ask.stamps)
    return Outage(mean.mean - drive.fixes[place], mean.covariance, ask.mask & ~told.gather(1, place))


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
