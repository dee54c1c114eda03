"""Scores of tracks as torchmetrics: a sequence an update, sums over sequences, and over machines."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torchmetrics import Metric

from mambats.track.metrics.clear import ClearCounts, clear_counts, clear_scores
from mambats.track.metrics.hota import ALPHAS, HotaSums, hota_scores, hota_sums
from mambats.track.metrics.identity import IdentityCounts, identity_counts, identity_scores
from mambats.track.metrics.rule import Rule
from mambats.track.metrics.scene import Floats, Scene
from mambats.track.objects import Objects


class SceneMetric(Metric, ABC):
    """A score made of sums over sequences.

    Args:
        rule: Which boxes count and how they are compared: `KittiRule`, `PlainRule`, ...
        shape: Of the sums.
    """

    is_differentiable = False
    full_state_update = False
    higher_is_better = True

    sums: Tensor

    def __init__(self, rule: Rule, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.rule = rule
        self.add_state("sums", default=torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, labels: Objects, tracks: Objects) -> None:
        """Add one sequence.

        Args:
            labels: What is there, with identities.
            tracks: What was tracked, of the same frames, with identities.

        Raises:
            ValueError: If the two do not fit together, see the rule.
        """
        self.add(self.rule(labels, tracks))

    def add(self, scene: Scene) -> None:
        """Add one sequence that a rule was asked about already."""
        self.sums = self.sums + torch.from_numpy(self.count(scene)).to(self.sums)

    def compute(self) -> dict[str, Tensor]:
        """Return scalars float64 by name."""
        found = self.score(self.sums.cpu().numpy())
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in found.items()}

    @abstractmethod
    def count(self, scene: Scene) -> Floats:
        """Return the sums of one sequence."""

    @abstractmethod
    def score(self, sums: Floats) -> dict[str, float]:
        """Return the scores by name."""


class HOTA(SceneMetric):
    """HOTA, DetA, AssA, LocA, DetRe, DetPr, AssRe, AssPr; see `hota_sums` and `hota_scores`.

    Args:
        rule: Which boxes count and how they are compared.
    """

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule, (7, len(ALPHAS)))

    def count(self, scene: Scene) -> Floats:
        """Return the sums of one sequence."""
        return hota_sums(scene).array()

    def score(self, sums: Floats) -> dict[str, float]:
        """Return the means over alpha."""
        return hota_scores(HotaSums.of(sums))


class ClearMOT(SceneMetric):
    """MOTA, MODA, MOTP, recall, precision, MT, ML, TP, FP, FN, IDSW, Frag, as TrackEval counts; see `clear_counts`.

    Args:
        rule: Which boxes count and how they are compared.
        threshold: Least similarity of a match.
    """

    def __init__(self, rule: Rule, threshold: float = 0.5) -> None:
        super().__init__(rule, (10,))
        self.threshold = threshold

    def count(self, scene: Scene) -> Floats:
        """Return the counts of one sequence."""
        return clear_counts(scene, self.threshold).array()

    def score(self, sums: Floats) -> dict[str, float]:
        """Return scores and counts."""
        return clear_scores(ClearCounts.of(sums))


class IDF1(SceneMetric):
    """IDF1, IDP, IDR; see `identity_counts`.

    Args:
        rule: Which boxes count and how they are compared.
        threshold: Least similarity of a match.
    """

    def __init__(self, rule: Rule, threshold: float = 0.5) -> None:
        super().__init__(rule, (3,))
        self.threshold = threshold

    def count(self, scene: Scene) -> Floats:
        """Return the counts of one sequence."""
        return identity_counts(scene, self.threshold).array()

    def score(self, sums: Floats) -> dict[str, float]:
        """Return the scores."""
        return identity_scores(IdentityCounts.of(sums))
