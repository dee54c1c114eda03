"""Fit a filter's noises to drives without any truth: by the likelihood of what it is surprised by."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from mambats.estimators.inertial import InertialFilter, NavigationState
from mambats.series import SensorRows

#: What is tuned: densities of the inertial unit, and every sensor's own noise. How slow errors settle is given, and
#: `rolling` is no measurement: likelihood would set it to nothing.
TUNED = ("imu", "gnss", "wheel")
_CEILING = 25.0  # A gated outlier must not decide: what a surprise may cost at most, nats


@torch.no_grad()
def surprise(filter_: InertialFilter, rows: dict[str, SensorRows], length_ns: int, state: NavigationState) -> float:
    """Return minus the mean log-likelihood of all innovations of a run, each bounded, nats; lower is better."""
    track, _ = filter_.run(rows, length_ns, state)
    total, count = 0.0, 0
    for name, told in track.innovations.items():
        # A stream of zeros is no measurement: rolling says what the world should be like.
        there = told.nis > 0
        size = told.residual.shape[-1]
        if name in filter_.streams and bool(there.any()):
            total -= float(told.log_likelihood.clamp_min(-_CEILING * size)[there].sum())
            count += int(there.sum())
    return total / max(count, 1)


@torch.no_grad()
def tune(
    filter_: InertialFilter, score: Callable[[], float], rounds: int = 2, names: tuple[str, ...] = TUNED
) -> dict[str, list[float]]:
    """Search noises one after the other: each deviation is doubled or halved as long as that lowers the score.

    Args:
        filter_: Changed in place; its noises keep their deviations in `log_diagonal` (`ConstantNoise`).
        score: What is to be lowered, `surprise` over training drives for instance.
        rounds: Passes over all noises; the step is halved with each.
        names: Which noises.

    Returns:
        The deviations found, by name.
    """
    best, step = score(), 0.7
    for _ in range(rounds):
        for values, cells in _knobs(filter_, names):
            best = _settle(values, cells, score, best, step)
        step /= 2
    return {name: _log(filter_.noises[name]).exp().tolist() for name in names}


def _settle(values: Tensor, cells: list[int], score: Callable[[], float], best: float, step: float) -> float:
    """Move one knob to where the score is lowest nearby, at most three steps either way."""
    for sign in (1.0, -1.0):
        moved = 0
        while moved < 3:
            values[cells] += sign * step
            now = score()
            if not now < best:
                values[cells] -= sign * step
                break
            best, moved = now, moved + 1
        if moved:
            return best
    return best


def _knobs(filter_: InertialFilter, names: tuple[str, ...]) -> Iterator[tuple[Tensor, list[int]]]:
    """Logarithms of deviations that are moved together: horizontal axes of a fix, all else by itself."""
    for name in names:
        values = _log(filter_.noises[name])
        cells = (
            [[0, 1], [2]] if name == "gnss" else [[0, 1]] if name == "rolling" else [[i] for i in range(len(values))]
        )
        for each in cells:
            yield values, each


def _log(noise: nn.Module) -> Tensor:
    values = getattr(noise, "log_diagonal", None)
    if not isinstance(values, Tensor):
        raise ValueError(f"{type(noise).__name__} has no deviations to tune: give ConstantNoise.")
    return values.data
