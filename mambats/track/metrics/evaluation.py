"""All scores of tracks of KITTI sequences, class by class, a table a definition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mambats.track.metrics.ab3dmot import ab3dmot_scores
from mambats.track.metrics.ab3dmot_rule import Ab3dmotRule
from mambats.track.metrics.clear import clear_counts, clear_scores
from mambats.track.metrics.hota import hota_scores, hota_sums
from mambats.track.metrics.identity import identity_counts, identity_scores
from mambats.track.metrics.kitti_rule import NEIGHBOURS, KittiRule
from mambats.track.metrics.nuscenes import nuscenes_scores
from mambats.track.metrics.nuscenes_rule import NuscenesRule
from mambats.track.metrics.scene import Scene
from mambats.track.metrics.similarity import Name
from mambats.track.objects import Objects

_SHOWN = (
    "HOTA", "DetA", "AssA", "LocA", "MOTA", "MOTP", "IDF1", "IDP", "IDR", "recall", "precision", "MT", "ML",
    "TP", "FP", "FN", "IDSW", "Frag",
)  # fmt: skip


class Labelled(Protocol):
    """A sequence to score."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def labels(self) -> Objects:
        """What is there."""
        ...

    @property
    def tracks(self) -> Objects:
        """What was tracked."""
        ...


class _NamedRule(Protocol):
    @property
    def name(self) -> str: ...

    def __call__(self, labels: Objects, tracks: Objects) -> Scene: ...


def evaluate(
    sequences: Sequence[Labelled], names: Sequence[str], similarity: Name = "iou_2d", threshold: float = 0.5
) -> dict[str, dict[str, dict[str, float]]]:
    """Return scores by definition, class and name.

    Args:
        sequences: Labels and tracks with KITTI's classes.
        names: Classes: car, pedestrian, cyclist, in any case.
        similarity: See `similarity_of_pairs`.
        threshold: Least similarity of a match.

    Returns:
        `TrackEval`: HOTA and the rest by KITTI's rules, counted as TrackEval counts; where tracks have scores,
        `AB3DMOT`: sAMOTA and the rest; where the similarity is `centre`, `nuScenes`: AMOTA and the rest. NaN where no
        label counts.

    Raises:
        ValueError: If there is no sequence or class, a class is unknown, or labels and tracks of a sequence do not fit.
    """
    classes = _classes(names)
    if not sequences:
        raise ValueError("there is no sequence to score: give one at least.")
    rules = {name: KittiRule(name, similarity, threshold) for name in classes}
    families = {"TrackEval": {name: _trackeval(_scenes(sequences, rule), threshold) for name, rule in rules.items()}}
    if any(one.tracks.score is None for one in sequences):
        return families
    families["AB3DMOT"] = {
        name: ab3dmot_scores(_scenes(sequences, Ab3dmotRule(name, similarity)), threshold) for name in classes
    }
    if similarity == "centre":
        families["nuScenes"] = {name: nuscenes_scores(_scenes(sequences, NuscenesRule(name))) for name in classes}
    return families


def _classes(names: Sequence[str]) -> list[str]:
    known = {name.lower(): name for name in NEIGHBOURS}
    if unknown := [name for name in names if name.lower() not in known]:
        raise ValueError(f"unknown classes {', '.join(unknown)}: there are {', '.join(known)}.")
    if not names:
        raise ValueError(f"no class is named: take some of {', '.join(known)}.")
    return [known[name.lower()] for name in names]


def _scenes(sequences: Sequence[Labelled], rule: _NamedRule) -> list[Scene]:
    scenes = list[Scene]()
    for one in sequences:
        try:
            scenes.append(rule(one.labels, one.tracks))
        except ValueError as error:
            raise ValueError(f"sequence {one.name}, {rule.name}: {error}") from error
    return scenes


def _trackeval(scenes: Sequence[Scene], threshold: float) -> dict[str, float]:
    hota, clear, identity = (
        hota_sums(scenes[0]),
        clear_counts(scenes[0], threshold),
        identity_counts(scenes[0], threshold),
    )
    for scene in scenes[1:]:
        hota, clear = hota + hota_sums(scene), clear + clear_counts(scene, threshold)
        identity = identity + identity_counts(scene, threshold)
    found = hota_scores(hota) | clear_scores(clear) | identity_scores(identity)
    labels, tracks = sum(len(scene.labels) for scene in scenes), sum(len(scene.tracks) for scene in scenes)
    shown = {name: found[name] if labels else float("nan") for name in _SHOWN}
    return shown | {"labels": float(labels), "tracks": float(tracks)}
