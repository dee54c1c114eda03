"""Where missed and false boxes of tracks come from, on labelled sequences in KITTI's layout, by its picture rule.

    python recipes/track_anatomy.py $MAMBATS_DATA/fusion/kitti_tracking --class Car --fits runs/track
    python recipes/track_anatomy.py ROOT --class Pedestrian --fits runs/track --mode fixed-lag

Trackers are those of `recipes/track_table.py`, LiDAR alone. A label was detected where a detection overlaps it by half
in the picture. The row "known" tells of a track's box wherever the detection it took is a body's: what a confirmer that
knew the truth would reach.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from track_table import CLASSES, Sequence, drawn, fitted, read, renamed, scores, silhouette

from mambats.track import History, Objects, tell
from mambats.track.behind import TRUE, behind
from mambats.track.metrics.assign import EPS, best_pairs
from mambats.track.metrics.clear import matched_pairs
from mambats.track.metrics.kitti_rule import NEIGHBOURS, KittiRule, regions_of, unseen
from mambats.track.metrics.rule import scene_of
from mambats.track.overlap import iou_2d
from mambats.track.projection import in_picture
from mambats.track.recipe import read_recipe

HALF, PARTLY = 0.5, 0.2  # overlaps in the picture


class Judged(NamedTuple):
    """Boxes that count, and which are matched.

    Args:
        labels: Of the class and its neighbours.
        tracks: Of the class.
        counts: Rows of labels that count.
        told: Rows of tracks that count.
        found: Rows of labels that a track matches.
        right: Rows of tracks that match a label.
    """

    labels: Objects
    tracks: Objects
    counts: np.ndarray
    told: np.ndarray
    found: np.ndarray
    right: np.ndarray


def judged(kind: str, labels: Objects, tracks: Objects) -> Judged:
    """Match tracks with labels as KITTI's rule does, row by row."""
    near = labels.of_class(kind, *(one for one in NEIGHBOURS[kind] if one in labels.classes))
    own, rule = tracks.of_class(kind), KittiRule(kind)
    assert near.occluded is not None and near.truncated is not None
    counts = near.labels == near.classes.index(kind)
    counts &= (near.occluded <= rule.occluded) & (near.truncated.trunc() <= rule.truncated)
    scene, counts = scene_of(near, own, rule.similarity), counts.numpy()
    pairs = best_pairs(scene, np.where(scene.similarity >= rule.threshold - EPS, scene.similarity, 0.0))
    label, track = (rows[pairs] for rows in scene.rows)
    kept = ~unseen(own, regions_of(labels), rule.height)
    kept[track] = counts[label]
    rows, left = (np.flatnonzero(counts), np.flatnonzero(kept)), scene.take(counts, kept)
    label, track = (some[own_rows[matched_pairs(left, HALF)]] for some, own_rows in zip(rows, left.rows, strict=True))
    return Judged(near, own, *rows, label, track)


def over(a: Objects, rows: np.ndarray, b: Objects) -> list[np.ndarray]:
    """Return of some boxes how far each overlaps all others of its frame in the picture."""
    assert a.pixels is not None and b.pixels is not None
    frames, splits = a.frames[rows].tolist(), b.splits.tolist()
    return [iou_2d(a.pixels[r : r + 1], b.pixels[splits[f] : splits[f + 1]])[0].nan_to_num(0.0).numpy()
            for r, f in zip(rows.tolist(), frames, strict=True)]  # fmt: skip


def missed(made: Judged, one: Sequence, history: History, odds: torch.Tensor, least: float) -> Counter[str]:
    """Count why labels were missed."""
    seen, counted = one.detections, Counter[str]()
    every = np.arange(len(made.labels.boxes))
    splits, frame = seen.splits.numpy(), made.labels.frames.numpy()
    best = [int(v.argmax()) if len(v) and v.max() >= HALF else -1 for v in over(made.labels, every, seen)]
    behind_it = np.array([splits[f] + v if v >= 0 else -1 for f, v in zip(frame, best, strict=True)])
    assert made.labels.identity is not None
    body, tracks = made.labels.identity.numpy(), history.tracks
    owner = {int(d): k for k, d in enumerate(tracks.detection.tolist()) if int(tracks.misses[k]) == 0}
    first = dict[int, int]()
    for k in torch.nonzero(history.shown)[:, 0].tolist():
        first.setdefault(int(tracks.identity[k]), int(history.frame[k]))
    for row in np.setdiff1d(made.counts, made.found):
        at, when = behind_it[row], frame[(body == body[row]) & (behind_it >= 0)]
        if at < 0:
            where = "never" if not len(when) else "before the first time" if frame[row] < when[0] else (
                "after the last time" if frame[row] > when[-1] else "in between")  # fmt: skip
            counted[f"not detected: {where}"] += 1
        elif odds[at] < least:
            counted["detected, below what is looked at"] += 1
        elif int(at) not in owner:
            counted["detected, taken by no track"] += 1
        elif bool(history.shown[owner[int(at)]]):
            counted["told of, box off"] += 1
        else:
            k = owner[int(at)]
            begun = first.get(int(tracks.identity[k]), 1 << 60)
            counted["tracked, not confirmed yet or ever" if history.frame[k] < begun else "tracked, doubted again"] += 1
    return counted


def false(made: Judged, one: Sequence, kind: str) -> Counter[str]:
    """Count what is behind false boxes."""
    counted, rows = Counter[str](), np.setdiff1d(made.told, made.right)
    names = np.array(one.labels.classes)[one.labels.labels.numpy()]
    splits, frames = one.labels.splits.tolist(), made.tracks.frames.numpy()
    assert made.tracks.identity is not None
    good = set(made.tracks.identity[torch.from_numpy(made.right)].tolist())
    for row, overlap in zip(rows, over(made.tracks, rows, one.labels), strict=True):
        here = names[splits[frames[row]] : splits[frames[row] + 1]]
        own, other = np.where(here == kind, overlap, 0.0), np.where(np.isin(here, [kind, "DontCare"]), 0.0, overlap)
        mine, theirs = own.max(initial=0.0), other.max(initial=0.0)
        if mine >= HALF:
            counted["a second box over a body"] += 1
        elif theirs >= PARTLY:
            counted[f"on or at a {here[other.argmax()]}"] += 1
        elif mine >= PARTLY:
            counted["partly over a body"] += 1
        else:
            known = int(made.tracks.identity[row]) in good
            counted["a body's track where it has no label" if known else "clutter"] += 1
    return counted


def anatomy(root: Path, kind: str, fits: Path | None, mode: str) -> None:
    """Print the counts of a class."""
    recipe = Path(__file__).parent / "track" / f"kitti_{kind.lower()}.yaml"
    names, looks = sorted(path.stem for path in (root / "label_02").glob("*.txt")), read_recipe(recipe).silhouette
    sequences = [drawn(read(root, kind, name), silhouette(looks, kind, name, fits)) for name in names]
    fn, fp, told, known = Counter[str](), Counter[str](), list[Objects](), list[Objects]()
    for one in sequences:
        tracker = fitted(read_recipe(recipe).tracker, kind, one.name, fits)
        history = tracker.run(one.detections)
        told.append(tell(history, one.detections, mode))  # pyright: ignore[reportArgumentType]
        seen = in_picture(told[-1], one.picture)
        made = judged(kind, one.labels, renamed(seen, one.labels))
        odds = tracker.detector.calibration(one.detections.score, one.detections.boxes)  # pyright: ignore
        fn += missed(made, one, history, odds, tracker.detector.least)
        fp += false(made, one, kind)
        true = behind(one.detections, one.labels, kind).truth == TRUE
        history.shown = (history.tracks.misses == 0) & true[history.tracks.detection]
        known.append(tell(history, one.detections, mode))  # pyright: ignore[reportArgumentType]
    for label, tracks in (("as it is", told), ("known", known)):
        found = scores(kind, sequences, tracks)
        print(f"{kind}, {mode}, {label}: " + ", ".join(f"{n} {100 * found[n]:.2f}" for n in ("HOTA", "DetA", "MOTA"))
              + f", FN {found['FN']:.0f}, FP {found['FP']:.0f}", flush=True)  # fmt: skip
    for title, counted in (("missed", fn), ("false", fp)):
        for why, count in counted.most_common():
            print(f"| {title} | {why} | {count} |")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--class", dest="kinds", action="append", choices=CLASSES)
    parser.add_argument("--fits", type=Path)
    parser.add_argument("--mode", default="online", choices=("online", "fixed-lag", "offline"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    for kind in given.kinds or CLASSES:
        anatomy(given.root, kind, given.fits, given.mode)


if __name__ == "__main__":
    main()
