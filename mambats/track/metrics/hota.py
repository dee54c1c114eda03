"""HOTA: how well boxes are found and how well they are held together, in equal parts, over all overlaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mambats.track.metrics.assign import EPS, best_pairs
from mambats.track.metrics.scene import Floats, Scene
from mambats.track.metrics.sums import Sums

#: Least similarity of a match, 19 values.
ALPHAS = np.arange(0.05, 0.99, 0.05)


@dataclass(frozen=True)
class HotaSums(Sums):
    """What HOTA is made of, each of shape (19,), one an alpha; sums over sequences.

    Args:
        found: Matched pairs, TP.
        missed: Labels without a match, FN.
        false: Tracks without a match, FP.
        held: Sum over matches of A(c), the share of both bodies' boxes that are matched with each other.
        held_labels: Sum over matches of the share of the label's boxes.
        held_tracks: Sum over matches of the share of the track's boxes.
        alike: Sum of similarities of matches.
    """

    found: Floats
    missed: Floats
    false: Floats
    held: Floats
    held_labels: Floats
    held_tracks: Floats
    alike: Floats


def hota_sums(scene: Scene) -> HotaSums:
    """Return the sums of one sequence.

    Source: Luiten et al., HOTA: A Higher Order Metric for Evaluating Multi-object Tracking, IJCV 2021, section 5, with
    the global alignment of its reference code (potential matches weighted by their share among rivals).
    """
    pairs = best_pairs(scene, _alignment(scene) * scene.similarity)
    alike = scene.similarity[pairs]
    couples, which = scene.couples
    label, track = np.divmod(couples, max(len(scene.tracks.spans), 1))
    label_span, track_span = scene.labels.spans[label], scene.tracks.spans[track]
    rows = list[tuple[float, ...]]()
    for alpha in ALPHAS:
        kept = alike >= alpha - EPS
        matches = np.bincount(which[pairs[kept]], minlength=len(couples)).astype(np.float64)
        square = matches * matches
        found = int(kept.sum())
        rows.append(
            (
                found,
                len(scene.labels) - found,
                len(scene.tracks) - found,
                float((square / (label_span + track_span - matches)).sum()),
                float((square / label_span).sum()),
                float((square / track_span).sum()),
                float(alike[kept].sum()),
            )
        )
    return HotaSums(*np.array(rows, dtype=np.float64).T)


def hota_scores(sums: HotaSums) -> dict[str, float]:
    """Return the means over alpha, 0 to 1: HOTA, DetA, AssA, LocA, and recall and precision of both halves."""
    found = np.maximum(1, sums.found)
    detection = sums.found / np.maximum(1, sums.found + sums.missed + sums.false)
    association = sums.held / found
    curves = {
        "HOTA": np.sqrt(detection * association),
        "DetA": detection,
        "AssA": association,
        "DetRe": sums.found / np.maximum(1, sums.found + sums.missed),
        "DetPr": sums.found / np.maximum(1, sums.found + sums.false),
        "AssRe": sums.held_labels / found,
        "AssPr": sums.held_tracks / found,
        # Where nothing is matched, nothing is badly placed: 1, as the reference code has it.
        "LocA": np.where(sums.found > 0, sums.alike / found, 1.0),
    }
    return {name: float(curve.mean()) for name, curve in curves.items()}


def _alignment(scene: Scene) -> Floats:
    """Return how well the bodies of every pair go together over the whole sequence, shape (P,)."""
    label, track = scene.rows
    alike = scene.similarity
    of_label = np.bincount(label, alike, minlength=len(scene.labels))[label]
    of_track = np.bincount(track, alike, minlength=len(scene.tracks))[track]
    rivals = of_label + of_track - alike
    share = np.divide(alike, rivals, out=np.zeros_like(alike), where=rivals > EPS)
    couples, which = scene.couples
    together = np.bincount(which, share, minlength=len(couples))
    bodies = np.divmod(couples, max(len(scene.tracks.spans), 1))
    return (together / (scene.labels.spans[bodies[0]] + scene.tracks.spans[bodies[1]] - together))[which]
