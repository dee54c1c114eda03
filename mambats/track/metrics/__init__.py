"""Scores of tracks: HOTA, CLEAR-MOT and IDF1 of any similarity, by KITTI's rules or by none.

As torchmetrics (`HOTA`, `ClearMOT`, `IDF1`: a sequence an update), and as functions of a `Scene`, which a rule makes of
labels and tracks.
"""

from mambats.track.metrics.clear import ClearCounts, clear_counts, clear_scores
from mambats.track.metrics.hota import ALPHAS, HotaSums, hota_scores, hota_sums
from mambats.track.metrics.identity import IdentityCounts, identity_counts, identity_scores
from mambats.track.metrics.kitti_rule import KittiRule
from mambats.track.metrics.rule import PlainRule, Rule, scene_of
from mambats.track.metrics.scene import Scene, Side
from mambats.track.metrics.scores import HOTA, IDF1, ClearMOT, SceneMetric
from mambats.track.metrics.similarity import NAMES, REACH, similarity_of_pairs

__all__ = [
    "ALPHAS",
    "HOTA",
    "IDF1",
    "NAMES",
    "REACH",
    "ClearCounts",
    "ClearMOT",
    "HotaSums",
    "IdentityCounts",
    "KittiRule",
    "PlainRule",
    "Rule",
    "Scene",
    "SceneMetric",
    "Side",
    "clear_counts",
    "clear_scores",
    "hota_scores",
    "hota_sums",
    "identity_counts",
    "identity_scores",
    "scene_of",
    "similarity_of_pairs",
]
