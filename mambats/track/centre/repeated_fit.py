"""How a detector's errors repeat, fitted to what it found in labelled drives."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambats.track.centre.codes import residual
from mambats.track.centre.model import Found
from mambats.track.centre.precision import match
from mambats.track.centre.repeated import RepeatedErrors
from mambats.track.centre.sweeps import SweepBatch, SweepTable
from mambats.track.tracks import SEEN

FAR = 10  # sweeps between which errors are compared, beside neighbours
TAIL = 5.0  # deviations beyond which an error counts as this: a box turned round would be all of the variance
MOST = (0.97, 60.0)  # share that repeats, and seconds: a body is seen for few of them


class Repeats(NamedTuple):
    """Of the errors of one class.

    Args:
        scale: Deviation of the seven errors in deviations that the detector says, shape (7,).
        share: Of their variance that repeats, shape (7,).
        time: After which it repeats to 1/e, seconds, shape (7,).
        velocity: Deviation of velocities along the ground, m/s.
    """

    scale: Tensor
    share: Tensor
    time: Tensor
    velocity: float

    def errors(self, factor: float = 1.0) -> RepeatedErrors:
        """Return them as trackers take them, all deviations times a factor."""
        return RepeatedErrors((self.scale * factor).tolist(), self.share.tolist())


def errors_of(found: Found, truth: SweepTable, label: int) -> Tensor:
    """Return errors of one class in deviations that were said, velocities in m/s: (S, M, 9), NaN where none is known.

    Args:
        found: In all sweeps of a table.
        truth: The table, whose bodies keep their column through a drive.
        label: Number of the class.
    """
    which = match(found, SweepBatch(truth.points, truth.boxes, truth.velocity, truth.labels)).truth
    row, column = torch.nonzero(which >= 0, as_tuple=True)
    body = which[row, column]
    kept = (found.labels[row, column] == label) & (truth.labels[row, body] == label)
    row, column, body = row[kept], column[kept], body[kept]
    made = torch.full((*truth.labels.shape, SEEN + 2), torch.nan, dtype=torch.float64)
    error = residual(found.boxes[row, column], found.velocity[row, column], truth.boxes[row, body],
                     truth.velocity[row, body]).double()  # fmt: skip
    error[:, :SEEN] /= found.variance[row, column, :SEEN].double().sqrt()
    made[row, body] = error
    return made


def fit_repeats(errors: Tensor, drive: Tensor, period: float) -> Repeats:
    """Return how errors repeat: by their correlation between neighbouring sweeps and over a second.

    Args:
        errors: Shape (S, M, 9), as `errors_of` gives them, drive behind drive.
        drive: Of each sweep, shape (S,).
        period: Seconds from sweep to sweep.

    Raises:
        ValueError: If nothing is known of a number.
    """
    clipped = errors.clamp(-TAIL, TAIL)

    def product(lag: int) -> Tensor:
        """Mean product of errors of a body so many sweeps apart; x and y have one."""
        pair = clipped[lag:] * clipped[: len(errors) - lag]
        apart = drive[lag:] != drive[: len(errors) - lag]
        mean = pair.masked_fill(apart[:, None, None], torch.nan).flatten(0, 1).nanmean(0)
        return torch.cat([mean[:2].nanmean(0, keepdim=True).expand(2), mean[2:]])

    own, next_, far = product(0), product(1), product(FAR)
    if not bool(own[:SEEN].isfinite().all()):
        raise ValueError("no detection of the class is near a labelled body: there is nothing to fit.")
    ratio = (next_ / far.clamp_min(1e-3)).nan_to_num(1.001).clamp_min(1.001)
    time = ((FAR - 1) * period / ratio.log()).clamp(2 * period, MOST[1])
    share = (next_ / own * (period / time).exp()).nan_to_num(0.0).clamp(0.0, MOST[0])
    velocity = float(own[SEEN:].nanmean().sqrt())
    return Repeats(own[:SEEN].sqrt(), share[:SEEN], time[:SEEN], velocity)
