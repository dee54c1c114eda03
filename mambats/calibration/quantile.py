"""Judge quantiles and samples: pinball loss, CRPS, coverage and the probability integral transform, entry by entry.

Everything here returns one number an entry (no mean), so that a caller may leave out absent values and
weight batches as it must. Quantile values carry the quantiles on their last axis, samples the draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

#: Two levels closer than this are the same level: 1 - 0.9 is 0.09999999999999998.
_SAME_LEVEL = 1e-6


def check_quantiles(quantiles: Sequence[float]) -> tuple[float, ...]:
    """Return the levels as a tuple of floats.

    Args:
        quantiles: Levels, each within (0, 1), rising.

    Raises:
        ValueError: If there is none, one lies outside (0, 1), or they do not rise.
    """
    levels = tuple(float(level) for level in quantiles)
    inside = bool(levels) and all(0.0 < level < 1.0 for level in levels)
    if not inside or any(low >= high for low, high in pairwise(levels)):
        raise ValueError(
            f"quantiles are {levels}: give at least one level, all within (0, 1), rising, e.g. (0.1, 0.5)."
        )
    return levels


def check_quantile_values(values: Tensor, target: Tensor, quantiles: Sequence[float]) -> None:
    """Refuse quantile values that are not one per target entry and level.

    Raises:
        ValueError: If the shape of values is not that of target with one more axis of length Q.
    """
    needed = (*target.shape, len(quantiles))
    if tuple(values.shape) != needed:
        raise ValueError(
            f"quantile values have shape {tuple(values.shape)}, target {tuple(target.shape)} and there are "
            f"{len(quantiles)} quantiles: need values of shape {needed}."
        )


def pinball(values: Tensor, target: Tensor, quantiles: Sequence[float]) -> Tensor:
    """Return the pinball loss max(q e, (q - 1) e) of e = target - value, for each entry and level.

    Args:
        values: Quantile values, shape (..., Q).
        target: Truth, shape (...), same units.
        quantiles: The Q levels.

    Returns:
        Losses, shape (..., Q), in the units of target.

    Raises:
        ValueError: If shapes disagree.

    Source: Koenker and Bassett, Regression Quantiles, 1978, equation 3.1.
    """
    check_quantile_values(values, target, quantiles)
    levels = values.new_tensor(quantiles)
    error = target.unsqueeze(-1) - values
    return torch.maximum(levels * error, (levels - 1) * error)


def crps_from_quantiles(values: Tensor, target: Tensor, quantiles: Sequence[float]) -> Tensor:
    """Return the continuous ranked probability score as twice the mean pinball loss over the levels.

    It approaches the exact score for many evenly spaced levels; with few it is comparable only between
    forecasts of the same levels. With the median alone it is the absolute error.

    Args:
        values: Quantile values, shape (..., Q).
        target: Truth, shape (...).
        quantiles: The Q levels.

    Returns:
        Scores, shape (...), in the units of target.

    Raises:
        ValueError: If shapes disagree.

    Source: Gneiting and Ranjan, Comparing Density Forecasts, 2011, equation 13.
    """
    return 2 * pinball(values, target, quantiles).mean(-1)


def crps_from_samples(samples: Tensor, target: Tensor, *, fair: bool = True) -> Tensor:
    """Return E|X - y| - E|X - X'| / 2 over the draws X.

    Args:
        samples: Draws, shape (..., S).
        target: Truth, shape (...).
        fair: Whether to average X, X' over different draws only, which makes the score unbiased in S (S >= 2);
            False scores the empirical distribution of the draws itself.

    Returns:
        Scores, shape (...), in the units of target.

    Raises:
        ValueError: If shapes disagree or there are too few draws.

    Source: Zamo and Naveau, Estimation of the CRPS with Limited Information, 2018, section 2.2.
    """
    draws = _check_samples(samples, target)
    if draws < 2 and fair:
        raise ValueError(f"samples hold {draws} draw: the fair score needs two or more; give more or set fair=False.")
    ordered = samples.sort(-1).values
    # Sum of |x_i - x_j| over all pairs: among sorted draws the i-th is the larger one i times, the smaller n-1-i times.
    rank = torch.arange(draws, device=samples.device, dtype=samples.dtype)
    pairs = 2 * ((2 * rank - (draws - 1)) * ordered).sum(-1)
    count = draws * (draws - 1) if fair else draws * draws
    return (samples - target.unsqueeze(-1)).abs().mean(-1) - pairs / (2 * count)


def interval_columns(quantiles: Sequence[float], level: float) -> tuple[int, int]:
    """Return the columns of the two quantiles that bound the central interval.

    Args:
        quantiles: The levels, rising.
        level: Share of probability inside, within (0, 1); 0.9 needs the levels 0.05 and 0.95.

    Raises:
        ValueError: If level lies outside (0, 1) or a bound is not among the quantiles.
    """
    levels = check_quantiles(quantiles)
    if not 0.0 < level < 1.0:
        raise ValueError(f"level is {level}: an interval's share lies within (0, 1), e.g. 0.9.")
    columns: list[int] = []
    for bound in ((1 - level) / 2, (1 + level) / 2):
        column = next((i for i, q in enumerate(levels) if abs(q - bound) < _SAME_LEVEL), None)
        if column is None:
            raise ValueError(f"quantiles are {levels}: a {level:g} interval needs {bound:g} among them; add it.")
        columns.append(column)
    return columns[0], columns[1]


def covered(low: Tensor, high: Tensor, target: Tensor) -> Tensor:
    """Return where low <= target <= high, bool, shape of target. Its mean is the coverage of the interval."""
    return (low <= target) & (target <= high)


def pit_from_quantiles(values: Tensor, target: Tensor, quantiles: Sequence[float]) -> Tensor:
    """Return F(target), with F drawn straight between the quantiles; uniform where the forecast is calibrated.

    Beyond the outer levels F is not known: such targets get the middle of the tail, q_1 / 2 or (1 + q_Q) / 2.

    Args:
        values: Quantile values, shape (..., Q), not falling along Q.
        target: Truth, shape (...).
        quantiles: The Q levels.

    Returns:
        Probabilities, shape (...), dimensionless.

    Raises:
        ValueError: If shapes disagree.
    """
    check_quantile_values(values, target, quantiles)
    levels = values.new_tensor(check_quantiles(quantiles))
    below = (values < target.unsqueeze(-1)).sum(-1)
    right = below.clamp(1, max(len(levels) - 1, 1)).clamp(max=len(levels) - 1)
    left = (right - 1).clamp(min=0)
    start, end = (values.gather(-1, i.unsqueeze(-1)).squeeze(-1) for i in (left, right))
    width = (end - start).clamp(min=torch.finfo(values.dtype).tiny)
    inside = levels[left] + (levels[right] - levels[left]) * ((target - start) / width).clamp(0, 1)
    tail_low = torch.where(target < values[..., 0], levels[0] / 2, inside)
    return torch.where(target > values[..., -1], (1 + levels[-1]) / 2, tail_low)


def pit_from_samples(samples: Tensor, target: Tensor) -> Tensor:
    """Return the share of draws under the truth, ties counted half; uniform where the forecast is calibrated.

    Args:
        samples: Draws, shape (..., S).
        target: Truth, shape (...).

    Raises:
        ValueError: If shapes disagree.
    """
    _check_samples(samples, target)
    truth = target.unsqueeze(-1)
    return ((samples < truth).to(samples.dtype) + 0.5 * (samples == truth)).mean(-1)


def _check_samples(samples: Tensor, target: Tensor) -> int:
    """Return the number of draws, after checking that there is one row of them per target entry."""
    if samples.shape[:-1] != target.shape or samples.shape[-1] < 1:
        raise ValueError(
            f"samples have shape {tuple(samples.shape)}, target {tuple(target.shape)}: need {(*target.shape, 'S')}."
        )
    return samples.shape[-1]
