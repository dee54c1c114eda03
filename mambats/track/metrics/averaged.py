"""Scores over recall as torchmetrics: they need all sequences at once, so what is kept is the sequences themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from mambats.track.metrics.ab3dmot import ab3dmot_scores
from mambats.track.metrics.nuscenes import nuscenes_scores
from mambats.track.metrics.rule import Rule
from mambats.track.metrics.scene import Floats, Scene, Side
from mambats.track.objects import Objects


class AveragedMetric(Metric, ABC):
    """Scores over recall.

    Args:
        rule: Which boxes count and how they are compared.
    """

    is_differentiable = False
    full_state_update = False
    higher_is_better = True

    packed: list[Tensor]

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule = rule
        self.add_state("packed", default=[], dist_reduce_fx="cat")

    def update(self, labels: Objects, tracks: Objects) -> None:
        """Add one sequence.

        Args:
            labels: What is there, with identities.
            tracks: What was tracked, of the same frames, with identities and scores.

        Raises:
            ValueError: If the two do not fit together, see the rule, or tracks have no scores.
        """
        if tracks.score is None:
            raise ValueError("tracks have no scores: over which recalls is to be averaged?")
        self.packed.append(pack(self.rule(labels, tracks)))

    def compute(self) -> dict[str, Tensor]:
        """Return scalars float64 by name.

        Raises:
            ValueError: If no sequence was added.
        """
        if not len(self.packed):
            raise ValueError("no sequence was added: call update once for each.")
        found = self.score(unpack(dim_zero_cat(self.packed)))
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in found.items()}

    @abstractmethod
    def score(self, scenes: Sequence[Scene]) -> dict[str, float]:
        """Return the scores by name."""


class SAMOTA(AveragedMetric):
    """sAMOTA, AMOTA, AMOTP and the rest of `ab3dmot_scores`.

    Args:
        rule: `Ab3dmotRule` for KITTI.
        threshold: Least similarity of a match.
    """

    def __init__(self, rule: Rule, threshold: float = 0.25) -> None:
        super().__init__(rule)
        self.threshold = threshold

    def score(self, scenes: Sequence[Scene]) -> dict[str, float]:
        """Return the scores of AB3DMOT's evaluator."""
        return ab3dmot_scores(scenes, self.threshold)


class AMOTA(AveragedMetric):
    """AMOTA, AMOTP, TID, LGD and the rest of `nuscenes_scores`.

    Args:
        rule: `NuscenesRule`.
    """

    def score(self, scenes: Sequence[Scene]) -> dict[str, float]:
        """Return the scores of nuScenes' evaluation."""
        return nuscenes_scores(scenes)


def pack(scene: Scene) -> Tensor:
    """Return a sequence as numbers in a row, which say themselves where they end; `unpack` is the inverse."""
    head = np.array([len(scene), len(scene.labels), len(scene.tracks), scene.seconds])
    sides = [
        part for side in (scene.labels, scene.tracks) for part in (side.splits, side.bodies, side.score, side.excused)
    ]
    return torch.from_numpy(np.concatenate([head, *(part.astype(np.float64) for part in sides), scene.similarity]))


def unpack(packed: Tensor) -> list[Scene]:
    """Return the sequences that were packed, in order."""
    row, at, scenes = packed.cpu().numpy(), 0, list[Scene]()

    def take(count: int) -> Floats:
        nonlocal at
        at += count
        return row[at - count : at]

    def side(frames: int, boxes: int) -> Side:
        splits, bodies = take(frames + 1).astype(np.int64), take(boxes).astype(np.int64)
        return Side(splits, bodies, take(boxes), take(boxes) > 0)

    while at < len(row):
        frames, labels, tracks, seconds = take(4)
        sides = side(int(frames), int(labels)), side(int(frames), int(tracks))
        pairs = int((sides[0].counts * sides[1].counts).sum())
        scenes.append(Scene(*sides, take(pairs), float(seconds)))
    return scenes
