"""Noise of a filter's models from recordings alone: the settings under which the measurements were most likely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from mambats.estimators.models import Noise
from mambats.estimators.run import Run, filter_window
from mambats.protocols import Estimator
from mambats.series import SensorRows


class Fit(NamedTuple):
    """What a fit found; the estimator itself holds the parameters.

    Args:
        settings: Noises as text by the name of their module: what a table prints beside the filter's scores.
        losses: Minus the mean log likelihood of a measured number at each iteration, nats.
        nis: Mean normalised innovation squared over measured numbers at the end, by stream: 1 where consistent.
    """

    settings: dict[str, str]
    losses: list[float]
    nis: dict[str, float]


def fit_noise(
    estimator: Estimator,
    windows: Sequence[tuple[Mapping[str, SensorRows], int]],
    *,
    optimizer: Literal["lbfgs", "adam"] = "lbfgs",
    iterations: int = 30,
    rate: float | None = None,
    skip: int = 0,
) -> Fit:
    """Set the noise parameters of an estimator to those of the greatest innovation likelihood.

    Only parameters that belong to a `Noise` and want a gradient are moved. No truth is needed: the filter's own
    predictions are what measurements are compared with. Each window starts from the estimator's start. Measurements
    that a gate keeps out do not count: fit without one.

    Args:
        estimator: Changed in place.
        windows: Rows by stream and length in nanoseconds, as `filter_window` takes them; all are used each iteration.
        optimizer: L-BFGS with a line search, for one to some dozen parameters; Adam where likelihood is rough.
        iterations: Of the optimiser.
        rate: Learning rate; None for 1 with L-BFGS and 0.05 with Adam, whose parameters are logarithms.
        skip: Leading rows of each stream that do not count, while the filter finds its feet.

    Returns:
        Settings, losses and consistency.

    Raises:
        ValueError: If there is no window, no noise to fit or no measurement that counts, or a number is out of range.
        FloatingPointError: If the likelihood is not finite from the start; the parameters are those before.

    Source: Mehra, On the Identification of Variances and Adaptive Kalman Filtering, 1970; Bar-Shalom, Li and
        Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, section 5.4.
    """
    if not windows or iterations < 1 or skip < 0 or optimizer not in ("lbfgs", "adam"):
        raise ValueError(
            f"windows are {len(windows)}, iterations {iterations}, skip {skip}, optimizer {optimizer!r}: needed one "
            "window and one iteration or more, skip of 0 or more, and 'lbfgs' or 'adam'."
        )
    parameters = noise_parameters(estimator)
    if not parameters:
        raise ValueError("the estimator has no noise with parameters that want a gradient: set requires_grad of some.")
    losses = list[float]()
    best = [p.detach().clone() for p in parameters]

    def closure() -> Tensor:
        solver.zero_grad()
        loss = _loss([filter_window(estimator, rows, length) for rows, length in windows], skip)
        if not bool(loss.isfinite()):
            raise FloatingPointError("the likelihood is not finite: start from larger noise, or take a smaller rate.")
        if not losses or float(loss.detach()) <= min(losses):
            best[:] = [p.detach().clone() for p in parameters]
        losses.append(float(loss.detach()))
        loss.backward()  # pyright: ignore[reportUnknownMemberType]
        return loss

    solver = _solver(optimizer, parameters, iterations, rate)
    try:
        for _ in range(1 if optimizer == "lbfgs" else iterations):
            solver.step(closure)  # pyright: ignore[reportCallIssue, reportArgumentType]
    except FloatingPointError:
        if not losses:
            raise
    finally:  # a step too far ends the search; what was best before it stands
        _restore(parameters, best)
    with torch.no_grad():
        runs = [filter_window(estimator, rows, length) for rows, length in windows]
    return Fit(noise_settings(estimator), losses, _consistency(runs, skip))


def noise_parameters(estimator: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of all noises of a module that want a gradient, each once."""
    found = [p for part in estimator.modules() if isinstance(part, Noise) for p in part.parameters()]
    return list({id(p): p for p in found if p.requires_grad}.values())


def noise_settings(estimator: nn.Module) -> dict[str, str]:
    """Return every noise of a module as text, by name: `motion.noise` -> `WhiteAcceleration(density=[0.5])`."""
    return {
        name.replace("_sensors.", "sensors."): repr(part)
        for name, part in estimator.named_modules()
        if isinstance(part, Noise)
    }


def _solver(
    optimizer: str, parameters: list[nn.Parameter], iterations: int, rate: float | None
) -> torch.optim.Optimizer:
    if optimizer == "adam":
        return torch.optim.Adam(parameters, lr=0.05 if rate is None else rate)
    return torch.optim.LBFGS(
        parameters, lr=1.0 if rate is None else rate, max_iter=iterations, line_search_fn="strong_wolfe"
    )


def _loss(runs: list[Run], skip: int) -> Tensor:
    """Minus the log likelihood, over the count of measured numbers so that windows of any length weigh alike."""
    total, count = torch.zeros(()), 0
    for run in runs:
        for told in run.innovations.values():
            used = told.used[:, skip:]
            total = total - torch.where(used, told.log_likelihood[:, skip:], 0.0).sum()
            count += int(used.sum()) * told.residual.shape[-1]
    if not count:
        raise ValueError(f"no measurement counts behind the first {skip} rows of each stream: give longer windows.")
    return total / count


def _consistency(runs: list[Run], skip: int) -> dict[str, float]:
    made = dict[str, float]()
    for stream in {name: None for run in runs for name in run.innovations}:
        told = [run.innovations[stream] for run in runs if stream in run.innovations]
        total = sum(float(torch.where(t.used, t.nis, 0.0)[:, skip:].sum()) for t in told)
        count = sum(int(t.used[:, skip:].sum()) * t.residual.shape[-1] for t in told)
        if count:
            made[stream] = total / count
    return made


def _restore(parameters: list[nn.Parameter], values: list[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)
