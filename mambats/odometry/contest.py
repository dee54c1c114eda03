"""Everyone who stands in an odometry table: the navigator, the filter it must beat, and each sensor by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mambats.odometry.bank import MEMBERS, FilterBank, at_moments, ready, unit_of_wheels
from mambats.odometry.navigation import Navigation, truth_at
from mambats.odometry.navigator import Navigator
from mambats.odometry.score import rms, scores
from mambats.series import SensorRows, SensorWindow

#: Names of the bank's members in tables.
FILTERS = dict(
    zip(MEMBERS, ("filter", "filter without gnss", "filter without wheel", "filter without imu"), strict=True)
)
FIXES = "gnss alone"


@dataclass(frozen=True)
class Contest:
    """What each contestant said of the same drives, from the same start.

    Args:
        stamps: Of the ticks, shape (B, T) int64 nanoseconds since the window's start.
        truth: At the ticks.
        estimates: By contestant.
        fixes: Satellite fixes as they came, held until the next one, shape (B, T, 3) m; NaN before the first.
    """

    stamps: Tensor
    truth: Navigation
    estimates: Mapping[str, Navigation]
    fixes: Tensor

    def part(self, begin: int, end: int) -> Contest:
        """Return drives `begin` to `end` (not included)."""
        chosen = slice(begin, end)
        estimates = {name: Navigation(*(p[chosen] for p in one)) for name, one in self.estimates.items()}
        truth = Navigation(*(p[chosen] for p in self.truth))
        return Contest(self.stamps[chosen], truth, estimates, self.fixes[chosen])

    def scores(self) -> dict[str, dict[str, float]]:
        """Return the scores of each; of the fixes, the position alone."""
        made = {name: scores(one.error(self.truth), one.covariance) for name, one in self.estimates.items()}
        miss = self.truth.position - self.fixes
        known = miss.isfinite().all(-1)
        if bool(known.any()):
            made[FIXES] = {"position": rms(miss[known])}
        return made


@torch.no_grad()
def hold_contest(
    model: Navigator, window: SensorWindow, start: Navigation, name: str = "navigator", *, alone: bool = False
) -> Contest:
    """Let everyone estimate the same drives.

    Args:
        model: In evaluation mode, on the window's device.
        window: With ground truth.
        start: Where each body is thought to be at the window's start, see `drawn_start`.
        name: Of the model.
        alone: Whether single sensors take part too, which costs two more runs of filters.
    """
    estimate, each = model.estimates(window, model.init_state(start))
    found = {name: estimate}
    found |= {label: Navigation(*(part[:, :, i] for part in each)) for i, label in enumerate(FILTERS.values())}
    rows = ready(window, model.bank.tick_ns)
    if alone:
        found |= single_sensors(model.bank, rows, window.length_ns, start, model)
    stamps = rows["query"].stamps
    return Contest(stamps, truth_at(window.truth, stamps), found, held_fixes(rows["gnss"], stamps))


def single_sensors(
    bank: FilterBank, rows: Mapping[str, SensorRows], length_ns: int, start: Navigation, model: Navigator
) -> dict[str, Navigation]:
    """Run the filters on the inertial unit alone and on the wheels alone."""
    first, others = {"imu": rows["imu"], "query": rows["query"]}, ("wheel", "rolling", "query")
    second = {name: rows[name] for name in others} | {"imu": unit_of_wheels(rows["wheel"], bank.wheeled.gravity)}
    made = dict[str, Navigation]()
    for label, filter_, given in (("imu alone", bank.inertial, first), ("wheel alone", bank.wheeled, second)):
        track, _ = filter_.run(given, length_ns, filter_.aligned(*start[:3], model.deviations))
        made[label] = Navigation(*at_moments(track, rows["query"].stamps))
    return made


def held_fixes(rows: SensorRows, stamps: Tensor) -> Tensor:
    """Return the last fix not later than each of stamps (B, T): (B, T, 3) float64, NaN where there was none."""
    there = rows.mask & rows.values.isfinite().all(-1)
    never = torch.iinfo(torch.int64).max
    clock, order = torch.where(there, rows.stamps, never).sort(dim=1, stable=True)
    values = rows.values.double().gather(1, order[..., None].expand_as(rows.values))
    place = torch.searchsorted(clock, stamps.contiguous(), right=True) - 1
    found = values.gather(1, place.clamp_min(0)[..., None].expand(-1, -1, 3))
    return torch.where((place >= 0)[..., None], found, torch.nan)
