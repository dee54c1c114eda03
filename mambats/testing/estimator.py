"""The laws of estimators, as one call that a third party's filter can be put through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mambats.estimators import filter_window
from mambats.protocols import Estimator
from mambats.series.state import flatten_state
from mambats.testing.compare import agree, require
from mambats.testing.estimator_state import (
    check_holes,
    check_kept_state,
    check_masks,
    check_rows_apart,
    check_split,
    check_standing_still,
    check_twice_the_same,
    rows_of,
    times,
)
from mambats.testing.moments import Moment, as_window, draw_moments, play
from mambats.testing.sequence import agree_states


def check_estimator(
    build: Callable[[], Estimator],
    *,
    seed: int = 0,
    batch: int = 3,
    moments: int = 12,
    scale: float = 1.0,
    divisible: bool = True,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> None:
    """Put an estimator through every law that holds for it.

    Args:
        build: Makes the estimator, after `torch.manual_seed(seed)`.
        seed: Of parameters and measurements.
        batch: Series in a batch, B, at least 2.
        moments: How many measurements.
        scale: Standard deviation of measured values, about what the sensors measure.
        divisible: Whether two predictions in a row are the same as one of both times: so for linear motion with noise
            of continuous time, not for motion made linear once a prediction, nor for particles.
        dtype: float64 holds the laws to 1e-10, float32 to 1e-5.
        device: Where to run.

    Raises:
        AssertionError: Naming the law that is broken.

    Example:
        check_estimator(lambda: ExtendedKalmanFilter(motion, {"gnss": place}, start))
    """
    torch.manual_seed(seed)
    estimator = build().to(device=device, dtype=dtype).eval()
    like = torch.zeros((), dtype=dtype, device=device)
    drawn = draw_moments(estimator, moments, batch, like, seed=seed, scale=scale)
    with torch.no_grad():
        state, _ = play(estimator, estimator.init_state(batch), drawn[: moments // 2])
        rest = drawn[moments // 2 :]
        check_standing_still(estimator, state)
        check_kept_state(estimator, state, rest)
        check_masks(estimator, state, rest)
        check_rows_apart(estimator, state, rest)
        check_twice_the_same(estimator, state, rest)
        check_holes(estimator, state, rest)
        check_doors(estimator, state, rest[0])
        check_missing_streams(estimator, drawn)
        check_run(estimator, drawn)
        check_pauses(estimator, state, rest)
        if divisible:
            check_split(estimator, state)
    check_gradients(estimator, state, rest)
    single = estimator.float()
    with torch.no_grad():
        check_covariances(single, 4 * moments, batch, seed=seed, scale=scale)


def check_doors(estimator: Estimator, state: Any, moment: Moment) -> None:
    """Demand a ValueError for unknown streams, other shapes, and (where looking costs no wait) backward time."""
    _refuses("an unknown stream", lambda: estimator.update(state, "no such stream", moment.value))
    wide = torch.cat([moment.value, moment.value[:, :1]], 1)
    _refuses("a value of another shape", lambda: estimator.update(state, moment.stream, wide))
    for seconds in (-1.0, torch.nan) if moment.value.device.type == "cpu" else ():
        _refuses(f"{seconds} seconds", lambda s=seconds: estimator.predict(state, times(estimator, state, s)))


def check_missing_streams(estimator: Estimator, moments: Sequence[Moment]) -> None:
    """Demand that any stream alone, and none at all, gives a finite estimate with a proper covariance."""
    batch = len(moments[0].elapsed)
    for name in (*estimator.streams, None):
        own = [moment for moment in moments if moment.stream == name]
        state, _ = play(estimator, estimator.init_state(batch), own)
        needs_covariance(f"stream {name} alone", estimator, state)


def check_run(estimator: Estimator, moments: Sequence[Moment]) -> None:
    """Demand that a run over a window is predict and update event by event, each series by itself."""
    batch = len(moments[0].elapsed)
    rows, length = as_window(estimator, moments)
    begin = estimator.init_state(batch)
    run = filter_window(estimator, rows, length, state=begin)
    for b in range(batch):
        events = sorted(
            (int(given.stamps[b, t]), rank, t, name)
            for rank, (name, given) in enumerate(rows.items())
            for t in range(given.mask.shape[1])
            if given.mask[b, t]
        )
        state, before = rows_of(begin, slice(b, b + 1)), 0
        for stamp, _, t, name in events:
            state = estimator.predict(state, times(estimator, state, (stamp - before) / 1e9))
            state, _ = estimator.update(state, name, rows[name].values[b : b + 1, t])
            agree("run == step by step", run.at(name).mean[b, t], estimator.estimate(state).mean[0])
            before = stamp
        state = estimator.predict(state, times(estimator, state, (length - before) / 1e9))
        agree_states("state after a run == after steps", rows_of(run.state, slice(b, b + 1)), state)


def check_pauses(estimator: Estimator, state: Any, moments: Sequence[Moment]) -> None:
    """Demand that an hour without a measurement leaves a proper estimate that measurements mend again."""
    state = estimator.predict(state, times(estimator, state, 3600.0))
    needs_covariance("after an hour's pause", estimator, state)
    state, _ = play(estimator, state, moments)
    needs_covariance("after an hour's pause and measurements", estimator, state)


def check_gradients(estimator: Estimator, state: Any, moments: Sequence[Moment]) -> None:
    """Demand finite gradients of the log likelihood in every parameter and every measured value."""
    values = [moment.value.clone().requires_grad_() for moment in moments]
    _, told = play(estimator, state, [m._replace(value=v) for m, v in zip(moments, values, strict=True)])
    total = torch.stack([(one.log_likelihood * one.used).sum() for one in told]).sum()
    leaves = [*values, *(p for p in estimator.parameters() if p.requires_grad)]
    if not total.requires_grad:
        raise AssertionError("gradients: the log likelihood has none, in no value and no parameter.")
    for slope in torch.autograd.grad(total, leaves, allow_unused=True):
        require("gradients are finite", slope is None or bool(torch.isfinite(slope).all()), "one is not")


def check_covariances(estimator: Estimator, count: int, batch: int, *, seed: int, scale: float) -> None:
    """Demand that in float32, after each of many random updates, the covariance is symmetric positive definite."""
    like = torch.zeros((), device=_like(estimator.init_state(1)).device)
    state = estimator.init_state(batch)
    for moment in draw_moments(estimator, count, batch, like, seed=seed, scale=scale):
        state, _ = play(estimator, state, [moment])
        needs_covariance("in float32", estimator, state)


def needs_covariance(when: str, estimator: Estimator, state: Any) -> None:
    """Demand a finite mean, and a covariance that is symmetric positive definite.

    Raises:
        AssertionError: If not; says when.
    """
    mean, covariance = (part.detach().double() for part in estimator.estimate(state))
    require(f"the estimate is finite {when}", bool(torch.isfinite(mean).all()), "the mean is not")
    require(f"the estimate is finite {when}", bool(torch.isfinite(covariance).all()), "the covariance is not")
    size = covariance.diagonal(dim1=-2, dim2=-1)
    law = f"the covariance is symmetric positive definite {when}"
    require(law, bool((size > 0).all()), f"the least variance is {float(size.min()):.3g}")
    scaled = covariance / size.sqrt().unsqueeze(-1) / size.sqrt().unsqueeze(-2)
    skew = float((scaled - scaled.mT).abs().max())
    require(law, skew < 1e-5, f"cells that mirror each other differ by {skew:.3g} of their deviations")
    least = float(torch.linalg.eigvalsh(scaled).min())
    require(law, least > 0, f"the least eigenvalue of the correlations is {least:.3g}")


def _like(state: Any) -> Tensor:
    return next(leaf for leaf in flatten_state(state).values() if leaf.dtype.is_floating_point)


def _refuses(what: str, call: Callable[[], object]) -> None:
    try:
        call()
    except ValueError:
        return
    raise AssertionError(f"refuses {what}: it took them. Raise a ValueError that says what was needed.")
