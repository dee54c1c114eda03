"""How sure a tracker is that a body is there: log odds, raised by detections, lowered by silence."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mambats.track.association import Matches
from mambats.track.detector import Detections
from mambats.track.tracks import Tracks


class Existence:
    """Bayes' rule on log odds.

    A detection of log odds o raises them by o - `prior`: its score was seen likelier from bodies than from clutter by
    that much, `prior` being the log odds of any detection. A frame without one multiplies the odds by 1 - `seen`, the
    probability of being detected, and every second bodies leave with `leaving`.

    Args:
        seen: Probability that a body is detected in a frame, within (0, 1).
        leaving: Probability a second that a body goes away, within (0, 1).
        prior: Log odds of a detection before its score is looked at.
        most: Bound of the log odds: a body seen for long is given up as fast as one seen for less.

    Raises:
        ValueError: If a number is out of range.

    Source: Musicki and Evans, Joint integrated probabilistic data association: JIPDA, IEEE Transactions on Aerospace
        and Electronic Systems 40, 2004, for one detection a track.
    """

    def __init__(self, seen: float = 0.8, leaving: float = 0.05, prior: float = 0.0, most: float = 6.0) -> None:
        if not (0 < seen < 1 and 0 <= leaving < 1 and most > 0):
            raise ValueError(
                f"seen is {seen}, leaving {leaving}, most {most}: needed probabilities and a bound above 0."
            )
        self.seen, self.leaving, self.prior, self.most = seen, leaving, prior, most

    def __call__(self, tracks: Tracks, detections: Detections, matches: Matches, elapsed: float | Tensor) -> Tracks:
        """Return the tracks with the log odds after a frame, `elapsed` seconds (of each track (T,)) after the last."""
        stay = (1 - self.leaving) ** elapsed
        odds = torch.logit(torch.sigmoid(tracks.existence) * stay)
        change = torch.full_like(odds, math.log1p(-self.seen))
        change.index_copy_(0, matches.track, detections.odds[matches.detection] - self.prior)
        return tracks._replace(existence=(odds + change).clamp(-self.most, self.most))
