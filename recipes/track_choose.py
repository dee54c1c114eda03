"""Thresholds of a tracker chosen leave-one-out on labelled sequences in KITTI's layout, LiDAR alone, online.

    python recipes/track_fit.py ROOT --class Car --each --write runs/track
    python recipes/track_choose.py ROOT --class Car --fits runs/track
    python recipes/track_table.py ROOT --class Car --fits runs/track

For each sequence: how often bodies are seen and the prior of existence, what is told of, how long a track may be
silent, and how far its detections may lie are those of the best mean of HOTA, MOTA and IDF1 over all *other* sequences,
each tracked with the noise that was fitted without itself. From the recipe's values on, one after another is searched
over a short list. The choice goes into `CLASS_without_SEQUENCE.json` as `chosen`, which `track_table.py` takes up.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from track_table import chosen_of, drawn, fitted, read, renamed, silhouette

from mambats.track import ByExistence, tell
from mambats.track.metrics.clear import clear_counts, clear_scores
from mambats.track.metrics.hota import hota_scores, hota_sums
from mambats.track.metrics.identity import identity_counts, identity_scores
from mambats.track.metrics.kitti_rule import KittiRule
from mambats.track.projection import in_picture
from mambats.track.recipe import read_recipe

#: What is tried, in this order, each from the best of those before on.
LISTS: dict[str, tuple[Any, ...]] = {
    "existence": ((0.5, -0.7), (0.5, -1.5), (0.7, -1.5), (0.7, -2.5), (0.85, -1.5), (0.85, -2.5), (0.93, -2.5)),
    "told": (0.0, 1.0, 2.0, 3.0),
    "silence": (0.5, 1.0, 2.0),
    "reach": (0.7, 1.0, 1.4),
}
SCORES = ("HOTA", "MOTA", "IDF1")


class Setting(NamedTuple):
    """What is chosen: seen and prior of existence, what is told of, seconds of silence, and a scale of all reaches."""

    existence: tuple[float, float]
    told: float
    silence: float
    reach: float = 1.0


def given_by(recipe: Path) -> Setting:
    """Return what a recipe has."""
    tracker = read_recipe(recipe).tracker
    existence, confirmer = tracker.updater.existence, tracker.confirmer
    if not isinstance(confirmer, ByExistence):
        raise SystemExit(f"{recipe}: the confirmer is a {type(confirmer).__name__}, needed a ByExistence.")
    return Setting((existence.seen, existence.prior), confirmer.least, tracker.deleter.silence)


class Search:
    """Scores of settings, sequence by sequence, each worked out once.

    Args:
        root: Of the data.
        kind: Class.
        fits: Noise of each sequence, fitted without it.
    """

    def __init__(self, root: Path, kind: str, fits: Path) -> None:
        self.kind, self.fits = kind, fits
        self.recipe = Path(__file__).parent / "track" / f"kitti_{kind.lower()}.yaml"
        names = sorted(path.stem for path in (root / "label_02").glob("*.txt"))
        own = read_recipe(self.recipe).silhouette
        self.sequences = [drawn(read(root, kind, name), silhouette(own, kind, name, fits)) for name in names]
        self._told_rates()
        self._sums = dict[Setting, list[tuple[Any, Any, Any]]]()

    def _told_rates(self) -> None:
        """Write into each file how many of the other sequences' detections are true, by their calibrated scores."""
        for one in self.sequences:
            path = self.fits / f"{self.kind}_without_{one.name}.json"
            detector = fitted(read_recipe(self.recipe).tracker, self.kind, one.name, self.fits).detector
            found = [detector(other.detections)[0].odds for other in self.sequences if other.name != one.name]
            trained = float(torch.sigmoid(torch.cat(found)).mean())
            path.write_text(json.dumps(json.loads(path.read_text()) | {"trained": round(trained, 4)}))

    def sums(self, setting: Setting) -> list[tuple[Any, Any, Any]]:
        """Return what HOTA, CLEAR-MOT and IDF1 count, of each sequence."""
        if setting not in self._sums:
            self._sums[setting] = [self._sum(at, setting) for at in range(len(self.sequences))]
        return self._sums[setting]

    def _sum(self, at: int, setting: Setting) -> tuple[Any, Any, Any]:
        one = self.sequences[at]
        tracker = fitted(read_recipe(self.recipe).tracker, self.kind, one.name, self.fits, chosen=False)
        tracker = chosen_of(tracker, setting._asdict())
        told = in_picture(tell(tracker.run(one.detections), one.detections), one.picture)
        scene = KittiRule(self.kind)(one.labels, renamed(told, one.labels))
        return hota_sums(scene), clear_counts(scene, 0.5), identity_counts(scene, 0.5)

    def score(self, setting: Setting, without: int | None = None) -> float:
        """Return the mean of HOTA, MOTA and IDF1 over all sequences but one."""
        kept = [one for at, one in enumerate(self.sums(setting)) if at != without]
        hota, clear, identity = kept[0]
        for one in kept[1:]:
            hota, clear, identity = hota + one[0], clear + one[1], identity + one[2]
        found = hota_scores(hota) | clear_scores(clear) | identity_scores(identity)
        return sum(found[name] for name in SCORES) / len(SCORES)

    def best(self, without: int | None = None) -> Setting:
        """Return the setting that a search ends at."""
        best = given_by(self.recipe)
        for name, values in LISTS.items():
            tried = [best._replace(**{name: value}) for value in values]
            best = max([best, *tried], key=lambda one: self.score(one, without))  # the first of equals: what there was
        return best


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--class", dest="kind", default="Car")
    parser.add_argument("--fits", type=Path, required=True, help="folder of CLASS_without_SEQUENCE.json")
    given = parser.parse_args(words)
    torch.set_num_threads(1)
    search = Search(given.root, given.kind, given.fits)
    made = list[Setting]()
    for at, one in enumerate(search.sequences):
        made.append(search.best(at))
        path = given.fits / f"{given.kind}_without_{one.name}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"chosen": made[-1]._asdict()}))
        print(f"{given.kind} without {one.name}: {made[-1]}", flush=True)
    for name in Setting._fields:
        counts = Counter(getattr(one, name) for one in made)
        print(f"# {name}: " + ", ".join(f"{value} x {count}" for value, count in counts.most_common()))
    print(f"# of all: {search.best()}")


if __name__ == "__main__":
    main()
