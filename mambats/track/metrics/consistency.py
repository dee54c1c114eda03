"""Whether the covariance of tracks is believable: their error against labels, weighed by it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mambats.calibration import chi_square_quantile, nees
from mambats.gaussian import Gaussian
from mambats.track.metrics.clear import matched_pairs
from mambats.track.metrics.rule import scene_of
from mambats.track.metrics.similarity import Name
from mambats.track.objects import BOX, Objects


def track_nees(
    labels: Objects, tracks: Objects, name: str, similarity: Name = "centre", threshold: float = 0.5
) -> Tensor:
    """Return the normalised estimation error squared of every track that is matched with a label.

    Chi-square with 7 degrees of freedom where covariances are right. A track half a turn away is compared with the
    label turned about: boxes look alike from behind. Only what is matched is judged: take a wide threshold.

    Args:
        labels: One sequence, exact boxes (labels drawn by hand have errors of their own).
        tracks: Of the same frames, with covariance.
        name: Class.
        similarity: See `similarity_of_pairs`.
        threshold: Least similarity of a match, as CLEAR-MOT matches.

    Returns:
        Shape (matches,), in order of frames.

    Raises:
        ValueError: If tracks have no covariance or one that is none, or labels and tracks do not fit, see `scene_of`.
    """
    near, own = labels.of_class(name), tracks.of_class(name)
    if own.covariance is None:
        raise ValueError("tracks have no covariance: there is nothing to weigh their errors by.")
    scene = scene_of(near, own, similarity)
    pairs = matched_pairs(scene, threshold)
    label, track = (torch.from_numpy(rows[pairs]) for rows in scene.rows)
    error = near.boxes.cpu()[label] - own.boxes.cpu()[track]
    error[:, 6] = torch.remainder(error[:, 6] + math.pi / 2, math.pi) - math.pi / 2
    return nees(Gaussian(torch.zeros_like(error), own.covariance.cpu()[track].to(error)), error)


def consistency_scores(found: Tensor, degrees: int = len(BOX), level: float = 0.95) -> dict[str, float]:
    """Return how NEES (or NIS) of many entries compares with chi-square.

    Args:
        found: Shape (entries,).
        degrees: Of freedom.
        level: Of the two-sided band of single entries.

    Returns:
        `per_degree` (1 where consistent, below: underconfident), `inside` the band (`level` where consistent), `below`
        and `above` it, and `entries`; NaN where there is none.
    """
    low, high = (chi_square_quantile((1 + side * level) / 2, degrees) for side in (-1, 1))
    values = found.double()
    shares = {"per_degree": values / degrees, "inside": (values >= low) & (values <= high), "below": values < low}
    shares["above"] = values > high
    return {name: float(one.double().mean()) for name, one in shares.items()} | {"entries": float(len(values))}
