"""Student's t distribution of innovations: a Gaussian whose scale is itself in doubt.

Among detections of the same range, score and history some are far worse than others, and nothing seen before says
which: with the best Gaussian that boosted trees could predict from all of it, 88 % of KITTI's innovations of cars lay
inside the 95 % band, as many above it as below.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def student_log_likelihood(nis: Tensor, log_det: Tensor, freedom: Tensor, size: int) -> Tensor:
    """Return the log density of residuals of `size` numbers, nats.

    Args:
        nis: Residuals weighed by the inverse of their covariance, shape (...).
        log_det: Of the covariance.
        freedom: Degrees of freedom, above 2, so that there is a covariance.
        size: m.

    Source: Roth, Ozkan and Gustafsson, A Student's t filter for heavy tailed process and measurement noise, ICASSP
        2013, equation 2, with the scale matrix written as covariance times (freedom - 2) / freedom.
    """
    half = 0.5 * (freedom + size)
    norm = torch.lgamma(half) - torch.lgamma(0.5 * freedom) - 0.5 * size * (math.pi * (freedom - 2)).log()
    return norm - 0.5 * log_det - half * torch.log1p(nis / (freedom - 2))


def gaussian_nis(nis: Tensor, freedom: Tensor, size: int) -> Tensor:
    """Return the chi-square value that is as far out as a normalised innovation squared under Student's t.

    Chi-square of `size` degrees where residuals are of the distribution said; the `nis` itself as freedom grows. Both
    ways go through Wilson's and Hilferty's cube roots: probabilities are right to 0.004 from five degrees on.

    Args:
        nis: Residuals weighed by the inverse of their covariance, shape (...).
        freedom: Degrees of freedom, above 2.
        size: m.

    Source: Paulson, An approximate normalization of the analysis of variance distribution, Annals of Mathematical
        Statistics 13, 1942; Wilson and Hilferty, PNAS 17, 1931.
    """
    ratio = (nis / size * freedom / (freedom - 2)).clamp_min(0.0) ** (1 / 3)
    wide, own = 2 / (9 * freedom), 2 / (9 * size)
    normal = ((1 - wide) * ratio - (1 - own)) / (wide * ratio.square() + own).sqrt()
    return size * (1 - own + normal * math.sqrt(own)).clamp_min(0.0) ** 3
