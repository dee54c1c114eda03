"""Which label is matched with which track, frame by frame, so that the sum of their scores is largest."""

from __future__ import annotations

import numpy as np

from mambats.track.metrics.scene import Flags, Floats, Scene, Whole

EPS = float(np.finfo(np.float64).eps)


def best_pairs(scene: Scene, score: Floats) -> Whole:
    """Return the matched pairs in order of frames: one to one in every frame, of the largest sum of scores.

    Args:
        scene: F frames, P pairs.
        score: Shape (P,); pairs of 0 or less are never matched.
    """
    sure, crowded = sure_pairs(scene, score > EPS)
    found = [best_of_frame(scene, frame, score[scene.offsets[frame] : scene.offsets[frame + 1]]) for frame in crowded]
    return np.sort(np.concatenate([sure, *found]))


def sure_pairs(scene: Scene, candidate: Flags) -> tuple[Whole, Whole]:
    """Part frames that need no search from those that do.

    Nine frames in ten have no two candidates for one box: there all candidates are matched, whatever their score.

    Args:
        scene: P pairs.
        candidate: Which pairs may be matched, shape (P,).

    Returns:
        The candidates of all frames without rivals, and the frames with rivals; both in order of frames.
    """
    pairs = np.flatnonzero(candidate)
    label, track = scene.rows[0][pairs], scene.rows[1][pairs]
    rival = (np.bincount(label)[label] > 1) | (np.bincount(track)[track] > 1) if len(pairs) else pairs > 0
    frames = scene.frames[pairs]
    crowded = np.unique(frames[rival])
    searched = np.zeros(len(scene), dtype=np.bool_)
    searched[crowded] = True
    return pairs[~searched[frames]], crowded


def best_of_frame(scene: Scene, frame: int, score: Floats) -> Whole:
    """Return the matched pairs of one frame, of the largest sum of scores; pairs of 0 or less are never matched.

    Args:
        scene: P pairs.
        frame: Which.
        score: Of the pairs of this frame, flat.
    """
    from scipy.optimize import linear_sum_assignment

    table = score.reshape(scene.labels.counts[frame], scene.tracks.counts[frame])
    row, column = linear_sum_assignment(table, maximize=True)
    kept = table[row, column] > EPS
    return scene.offsets[frame] + row[kept] * table.shape[1] + column[kept]
