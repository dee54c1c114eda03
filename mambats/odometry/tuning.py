"""Fit a filter's noises to drives without any truth: by the likelihood of what it is surprised by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from mambats.estimators.inertial import InertialFilter, NavigationState
from mambats.estimators.models import Noise
from mambats.estimators.noise import ConstantNoise
from mambats.series import SensorRows

#: Standard deviations by name.
Setting = Mapping[str, Sequence[float]]
#: What is tuned: densities of the inertial unit, and every sensor's own noise. How slow errors settle is given, and
#: `rolling` is no measurement: likelihood would set it to nothing.
TUNED = ("imu", "gnss", "wheel")
#: Streams of zeros: they say what the world should be like, and are no data that a forecast can be scored with.
_WISHED = ("rolling", "still")
_CEILING = 25.0  # A gated outlier must not decide: what a surprise may cost at most, nats
_AWAY = (-2.0, -1.0, 1.0, 2.0)  # steps in which each deviation is tried


class SeriesNoise(Noise):
    """A covariance for each series of a batch: so many settings of one filter run side by side.

    Args:
        deviation: Standard deviations, shape (B, k), above 0.

    Raises:
        ValueError: If one is not above 0, or they are no matrix.
    """

    deviation: Tensor

    def __init__(self, deviation: Tensor) -> None:
        super().__init__()
        if deviation.dim() != 2 or not bool((deviation > 0).all()):
            raise ValueError(f"deviation has shape {tuple(deviation.shape)}: need (B, k), all numbers above 0.")
        self.register_buffer("deviation", deviation, persistent=False)
        self.size = deviation.shape[1]

    def forward(self, elapsed: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the covariance (B, k, k), whatever time has elapsed (B,)."""
        if len(elapsed) != len(self.deviation):
            raise ValueError(f"the batch has {len(elapsed)} series: this noise is of {len(self.deviation)}.")
        return torch.diag_embed((self.deviation if scale is None else self.deviation * scale).square())


def settings_of(filter_: InertialFilter, names: Sequence[str] = TUNED) -> dict[str, list[float]]:
    """Return the deviations of a filter by name.

    Raises:
        ValueError: If a noise is no `ConstantNoise`.
    """
    return {name: _constant(filter_.noises[name]).log_diagonal.detach().exp().tolist() for name in names}


def beside(filter_: InertialFilter, settings: Sequence[Setting], drives: int) -> InertialFilter:
    """Return a filter whose batch holds all drives under the first setting, then all under the next.

    Args:
        filter_: Keeps what the settings do not name.
        settings: Of the same names each.
        drives: Drives of a setting.
    """
    noise = dict(filter_.noise)
    for name in settings[0]:
        each = torch.tensor([list(setting[name]) for setting in settings]).to(filter_.delay)
        noise[name] = SeriesNoise(each.repeat_interleave(drives, 0))
    made = InertialFilter(
        noise, filter_.mounts, float(filter_.delay.detach()), filter_.gravity, filter_.gate, filter_.start,
        filter_.wander_seconds, filter_.wheel_period,
    )  # fmt: skip
    return made.to(filter_.delay)


def repeated(rows: SensorRows, times: int) -> SensorRows:
    """Return the same series `times` times, one batch behind the other."""
    values, mask, gaps, stamps = (
        part.repeat(times, *[1] * (part.ndim - 1)) for part in (rows.values, rows.mask, rows.gaps, rows.stamps)
    )
    observed = None if rows.observed is None else rows.observed.repeat(times, 1, 1)
    return replace(rows, values=values, mask=mask, gaps=gaps, stamps=stamps, observed=observed)


@torch.no_grad()
def surprises(
    filter_: InertialFilter, rows: Mapping[str, SensorRows], length_ns: int, state: NavigationState, parts: int = 1
) -> Tensor:
    """Return minus the mean log-likelihood of what was measured, each measurement's bounded, nats; lower is better.

    Args:
        filter_: What forecasts.
        rows: By stream; of `rolling` and `still` nothing is scored.
        length_ns: Of the windows.
        state: At their start.
        parts: Equal parts of the batch that are scored apart, see `beside`.

    Returns:
        Shape (parts,).
    """
    track, _ = filter_.run(rows, length_ns, state)
    total = state.covariance.new_zeros(parts)
    count = torch.zeros_like(total)
    for name, told in track.innovations.items():
        if name not in _WISHED:
            there = told.nis > 0
            cost = -told.log_likelihood.clamp_min(-_CEILING * told.residual.shape[-1])
            total += torch.where(there, cost, 0.0).view(parts, -1).sum(1)
            count += there.view(parts, -1).sum(1)
    return total / count.clamp_min(1)


def tune(
    start: Setting, score: Callable[[Sequence[Setting]], Sequence[float]], rounds: int = 3, step: float = 0.7
) -> dict[str, list[float]]:
    """Search deviations: each by itself one and two steps up and down, then all together where each was best.

    A round asks for two lists of scores, of 33 settings and of 4 where there are eight deviations to move: a filter
    that waits for the launches of its operations runs them all in the time of one.

    Args:
        start: Deviations that the search starts from.
        score: What is to be lowered, `surprises` of filters `beside` one another for instance.
        rounds: The step is halved with each.
        step: Of the logarithm, in the first round.

    Returns:
        The deviations found; never worse than the start.
    """
    best = {name: list(values) for name, values in start.items()}
    knobs = _knobs(best)
    for _ in range(rounds):
        alone = [_moved(best, {knob: away * step}) for knob in knobs for away in _AWAY]
        here, *found = score([best, *alone])
        moves = dict[tuple[str, tuple[int, ...]], float]()
        for number, knob in enumerate(knobs):
            moves[knob] = step * _bottom(here, found[number * len(_AWAY) : (number + 1) * len(_AWAY)])
        together = [_moved(best, {knob: share * by for knob, by in moves.items()}) for share in (0.25, 0.5, 0.75, 1)]
        tried = [*zip([here, *found], [best, *alone], strict=True), *zip(score(together), together, strict=True)]
        best = min(tried, key=lambda pair: pair[0])[1]
        step /= 2
    return best


def _bottom(here: float, found: Sequence[float]) -> float:
    """Steps to the lowest point of a profile over (-2, -1, 0, 1, 2): by a parabola, at the ends the end itself."""
    profile = [*found[:2], here, *found[2:]]
    least = min(range(5), key=profile.__getitem__)
    if least in (0, 4):
        return least - 2.0
    left, middle, right = profile[least - 1 : least + 2]
    bend = left - 2 * middle + right
    return least - 2.0 + (0.5 * (left - right) / bend if bend > 0 else 0.0)


def _knobs(setting: Setting) -> list[tuple[str, tuple[int, ...]]]:
    """Deviations that are moved together: horizontal axes of a fix, all else by itself."""
    made = list[tuple[str, tuple[int, ...]]]()
    for name, values in setting.items():
        level = name in ("gnss", "wander")
        made += [(name, (0, 1)), (name, (2,))] if level else [(name, (i,)) for i in range(len(values))]
    return made


def _moved(setting: Setting, by: Mapping[tuple[str, tuple[int, ...]], float]) -> dict[str, list[float]]:
    """A setting with logarithms of some deviations moved."""
    made = {name: torch.tensor(list(values), dtype=torch.float64).log() for name, values in setting.items()}
    for (name, cells), amount in by.items():
        made[name][list(cells)] += amount
    return {name: values.exp().tolist() for name, values in made.items()}


def _constant(noise: nn.Module) -> ConstantNoise:
    if not isinstance(noise, ConstantNoise):
        raise ValueError(f"{type(noise).__name__} has no deviations to tune: give ConstantNoise.")
    return noise
