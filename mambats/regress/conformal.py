"""Split conformal calibration: how far intervals must be stretched to cover what they say, on cases kept aside."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mambats.regress.head import Estimate


def needed_stretch(
    estimate: Estimate,
    truth: Tensor,
    level: float,
    floor: float | None = None,
    cap: float | None = None,
    most: float = 10.0,
) -> Tensor:
    """Return the factor on the reach of intervals with which a share `level` of truths would have lain inside.

    It is the ceil((n + 1) level)-th smallest of what each entry needed: with entries that are exchangeable with later
    ones those are covered with a chance of at least `level`. Rows of one case are alike, so take few of each case.

    Bounds must not be held within floor and cap yet: held ones end at the cap, where much of the truth is, all those
    entries would need a factor of exactly 1, and intervals that are too wide could never be shrunk.

    Args:
        estimate: Point and bounds of n entries, before any stretch and before they are held within floor and cap.
        truth: Shape (n,).
        level: Share that should lie inside.
        floor: Where truth and later bounds are held from below, or None.
        cap: Where they are held from above: a truth at the cap is covered once the upper bound reaches the cap.
        most: Largest factor returned.

    Returns:
        Scalar, at least 0.1: intervals of no width could never be stretched again.

    Raises:
        ValueError: If there is no entry.

    Source: Romano, Patterson and Candes, Conformalized Quantile Regression, 2019, with the score divided by the reach
        as in Lei et al., Distribution-Free Predictive Inference, 2018, section 5.2.
    """
    if not truth.numel():
        raise ValueError("no entry was given: conformal calibration needs cases that were kept aside.")
    pair = truth, estimate.point
    held, point = (each if floor is None and cap is None else each.clamp(floor, cap) for each in pair)
    error = torch.where(held == point, 0, held - estimate.point)
    reach = torch.where(error >= 0, estimate.high - estimate.point, estimate.point - estimate.low)
    needed = torch.where(error == 0, 0, error.abs() / reach.clamp_min(1e-9)).sort().values
    place = min(len(needed), math.ceil((len(needed) + 1) * level)) - 1
    return needed[place].clamp(0.1, most)
