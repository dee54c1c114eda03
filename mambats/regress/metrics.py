"""How far estimates are off, what late warnings cost, and whether intervals hold what they say."""

from __future__ import annotations

import torch
from torch import Tensor

from mambats.calibration import covered
from mambats.regress.head import Estimate


def rmse(point: Tensor, truth: Tensor) -> Tensor:
    """Return the root of the mean squared error of point (n,), in the unit of truth."""
    return (point - truth).double().square().mean().sqrt()


def mae(point: Tensor, truth: Tensor) -> Tensor:
    """Return the mean absolute error of point (n,), in the unit of truth."""
    return (point - truth).double().abs().mean()


def cmapss_score(point: Tensor, truth: Tensor) -> Tensor:
    """Return the sum of exp(-d / 13) - 1 where d = point - truth is below 0, of exp(d / 10) - 1 elsewhere.

    A failure that comes before it was announced (d > 0) costs more. Grows with the number of entries.

    Args:
        point: Estimated cycles left, shape (n,).
        truth: Cycles left, shape (n,).

    Source: Saxena et al., Damage propagation modeling for aircraft engine run-to-failure simulation, PHM 2008,
        section VI.
    """
    late = (point - truth).double()
    return torch.where(late < 0, torch.exp(-late / 13), torch.exp(late / 10)).sub(1).sum()


def regression_scores(estimate: Estimate, truth: Tensor, cap: float | None, level: float) -> dict[str, Tensor]:
    """Return the scores of n estimates by name.

    `rmse` and `score_100` are against the truth as it is; `rmse_cap` and `score_100_cap` against the truth held at
    `cap`, as published tables do it; intervals are judged against the held truth, of which alone they speak.
    `score_100` is `cmapss_score` a hundred entries: the published sum where a hundred engines are tested once each.

    Args:
        estimate: Point and bounds, each (n,); bounds NaN where a model has none.
        truth: Shape (n,).
        cap: Where the truth is held, or None: then both are the same and the first alone is given.
        level: Share of the interval.
    """
    hundreds = truth.numel() / 100
    found = {"rmse": rmse(estimate.point, truth), "score_100": cmapss_score(estimate.point, truth) / hundreds}
    held = truth if cap is None else truth.clamp(max=cap)
    if cap is not None:
        found |= {
            "rmse_cap": rmse(estimate.point, held),
            "score_100_cap": cmapss_score(estimate.point, held) / hundreds,
        }
    if bool(estimate.low.isfinite().all()):
        found["width"] = (estimate.high - estimate.low).double().mean()
        found[f"coverage_{100 * level:g}"] = covered(estimate.low, estimate.high, held).double().mean()
    return found
