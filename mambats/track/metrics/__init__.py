"""Scores of tracks: HOTA, CLEAR-MOT, IDF1, sAMOTA, AMOTA of any similarity, by KITTI's rules, nuScenes' or none.

As torchmetrics (`HOTA`, `ClearMOT`, `IDF1`, `SAMOTA`, `AMOTA`: a sequence an update), and as functions of a `Scene`,
which a rule makes of labels and tracks. `evaluate` does all at once.
"""

from mambats.track.metrics.ab3dmot import ab3dmot_scores
from mambats.track.metrics.ab3dmot_rule import Ab3dmotRule
from mambats.track.metrics.averaged import AMOTA, SAMOTA, AveragedMetric
from mambats.track.metrics.clear import ClearCounts, clear_counts, clear_scores
from mambats.track.metrics.consistency import consistency_scores, track_nees
from mambats.track.metrics.evaluation import evaluate
from mambats.track.metrics.hota import ALPHAS, HotaSums, hota_scores, hota_sums
from mambats.track.metrics.identity import IdentityCounts, identity_counts, identity_scores
from mambats.track.metrics.interpolate import interpolated
from mambats.track.metrics.kitti_rule import KittiRule
from mambats.track.metrics.nuscenes import nuscenes_scores
from mambats.track.metrics.nuscenes_rule import NuscenesRule
from mambats.track.metrics.rule import PlainRule, Rule, scene_of
from mambats.track.metrics.scene import Scene, Side
from mambats.track.metrics.scores import HOTA, IDF1, ClearMOT, SceneMetric
from mambats.track.metrics.similarity import NAMES, REACH, similarity_of_pairs

__all__ = [
    "ALPHAS",
    "AMOTA",
    "HOTA",
    "IDF1",
    "NAMES",
    "REACH",
    "SAMOTA",
    "Ab3dmotRule",
    "AveragedMetric",
    "ClearCounts",
    "ClearMOT",
    "HotaSums",
    "IdentityCounts",
    "KittiRule",
    "NuscenesRule",
    "PlainRule",
    "Rule",
    "Scene",
    "SceneMetric",
    "Side",
    "ab3dmot_scores",
    "clear_counts",
    "clear_scores",
    "consistency_scores",
    "evaluate",
    "hota_scores",
    "hota_sums",
    "identity_counts",
    "identity_scores",
    "interpolated",
    "nuscenes_scores",
    "scene_of",
    "similarity_of_pairs",
    "track_nees",
]
