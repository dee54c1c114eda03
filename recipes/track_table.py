"""The tracking table on labelled sequences in KITTI's layout: ours in all modes beside AB3DMOT's published settings.

    python recipes/track_table.py $MAMBATS_DATA/fusion/kitti_tracking
    python recipes/track_table.py ROOT --class Car --fits runs/track     leave-one-out, see below

Noise and score calibration are those of recipes/track/kitti_CLASS.yaml. For leave-one-out each sequence takes those
that were fitted without it, where the folder of `--fits` has them:

    python recipes/track_fit.py ROOT --class Car --each --write runs/track
    python recipes/track_choose.py ROOT --class Car --fits runs/track       thresholds without each, too

`--camera` joins RRC's boxes in the picture; `--camera half` turns LiDAR off from the middle of every sequence on,
`--camera gaps` for 1 s of every 5 s. Columns `sAMOTA` score what is told of, columns `all` every track with its score,
as AB3DMOT's figures do; both in space, by its definition.

AB3DMOT's row is built from the same parts (constant velocity, R = I, its Q, P0, affinity, hits, age); its threshold on
the mean score of a whole track is applied afterwards, as its authors do: that part of it is not online.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from mambats.estimators import ConstantNoise, StepMotion
from mambats.formats.kitti import read_calibration, read_detections, read_detections_2d, read_tracks
from mambats.track import (
    MODES,
    BaseRate,
    BoxNoise,
    ByExistence,
    ByHits,
    CameraEvidence,
    Cascade,
    CentreDistance,
    ConstantVelocity,
    Deleter,
    Detector,
    Existence,
    Greedy,
    History,
    Hungarian,
    Initiator,
    Objects,
    Overlap,
    Picture,
    PictureUpdater,
    Predictor,
    ScoreCalibration,
    Silhouette,
    SinglePass,
    Tracker,
    Updater,
    run_pictured,
    tell,
)
from mambats.track.kitti import from_kitti
from mambats.track.metrics import evaluate
from mambats.track.projection import in_picture, outlined
from mambats.track.recipe import read_recipe

CLASSES = ("Car", "Pedestrian", "Cyclist")
SHOWN = ("HOTA", "DetA", "AssA", "LocA", "MOTA", "IDF1", "FP", "FN", "IDSW")
#: Of AB3DMOT: affinity, assignment, hits, age, threshold on a track's mean score.
PUBLISHED = {
    "Car": (Overlap(-0.2), Hungarian(), 3, 2, 3.240738),
    "Pedestrian": (Overlap(-0.4), Greedy(), 1, 4, 2.683133),
    "Cyclist": (CentreDistance(2.0), Hungarian(), 3, 4, 3.645319),
}
IOUS = {"Car": (0.25, 0.5, 0.7), "Pedestrian": (0.25, 0.5), "Cyclist": (0.25, 0.5)}
#: What `--camera` says of LiDAR.
AWAY = {"on": "", "half": " (no LiDAR from half on)", "gaps": " (no LiDAR for 1 s of 5 s)"}
BAND = (1.69, 16.01)  # 95 % of chi-square of seven numbers


class Sequence(NamedTuple):
    """What is known of a sequence."""

    name: str
    detections: Objects
    labels: Objects
    picture: Picture
    added: Tensor | None = None
    away: Tensor | None = None


class Scored(NamedTuple):
    """What `evaluate` reads."""

    name: str
    labels: Objects
    tracks: Objects


def read(root: Path, kind: str, name: str) -> Sequence:
    """Read detections of one class, labels of all, and the camera."""
    file = f"{name}.txt"
    found = read_detections(root / "det3d_pointrcnn" / kind / file)
    truth = read_tracks(root / "label_02" / file)
    frames = max(len(found.stamps), len(truth.stamps))
    found = read_detections(root / "det3d_pointrcnn" / kind / file, frames)
    truth = read_tracks(root / "label_02" / file, frames)
    camera = torch.from_numpy(read_calibration(root / "calib" / file).projection(2))
    seen = from_kitti(found).of_class(kind)
    return Sequence(name, seen, from_kitti(truth), Picture.of(seen, camera))


def joined(root: Path, kind: str, one: Sequence, joins: CameraEvidence) -> Sequence:
    """Return a sequence with what the camera saw."""
    seen = from_kitti(read_detections_2d({kind: root / "det2d_rrc" / kind / f"{one.name}.txt"}, len(one.detections)))
    both = joins(one.detections, seen.of_class(kind))
    return one._replace(detections=both.detections, added=both.added)


def drawn(one: Sequence, silhouette: Silhouette | None) -> Sequence:
    """Return a sequence whose bodies look as wide as a silhouette says."""
    picture = one.picture._replace(silhouette=silhouette or Silhouette())
    return one._replace(picture=picture, detections=outlined(one.detections, picture))


def silhouette(own: Silhouette | None, kind: str, name: str, fits: Path | None) -> Silhouette | None:
    """Return a recipe's silhouette, as fitted without a sequence where that is known."""
    known: dict[str, Any] = {} if fits is None else json.loads((fits / f"{kind}_without_{name}.json").read_text())
    return own if own is None or "silhouette" not in known else Silhouette(*known["silhouette"])


def published(kind: str) -> Tracker:
    """Return a tracker with AB3DMOT's settings; its time counts frames, ours seconds."""
    affinity, assignment, hits, age, _ = PUBLISHED[kind]
    # Frames of 0.1 s: velocity variance of 0.01 m^2 a frame^2 is 1 m^2/s^2, that of the start 10,000 is a million.
    move = [[1.0 if i == j else 0.1 if j == i + 7 else 0.0 for j in range(10)] for i in range(10)]
    return Tracker(
        Detector(BoxNoise([[0.0]] * 7, along=False)),
        Predictor(StepMotion(move, ConstantNoise([1.0] * 10))),
        SinglePass(affinity, assignment),
        Updater(Existence()),
        Initiator([1000.0] * 3, box=[10.0**0.5] * 7),
        Deleter(misses=age - 1),
        ByHits(hits, misses=age - 1),
    )


def scored(history: History, detections: Objects) -> Objects:
    """Return the tracks told of online, each box with the score of the detection taken last, as AB3DMOT writes it."""
    rows = torch.nonzero(history.shown)[:, 0]
    rows = rows[torch.argsort(history.frame[rows], stable=True)]  # as they are told of
    return replace(tell(history, detections), score=history.tracks.odds[rows])


def above(tracks: Objects, least: float) -> Objects:
    """Return the tracks whose mean score, over all frames of a track, is high enough."""
    assert tracks.identity is not None and tracks.score is not None
    _, which = tracks.identity.unique(return_inverse=True)
    count, score = which.bincount(), tracks.score
    total = torch.zeros(len(count), dtype=score.dtype).index_add(0, which, score)
    return tracks.take((total / count)[which] >= least)


def fitted(tracker: Tracker, kind: str, name: str, fits: Path | None, *, chosen: bool = True) -> Tracker:
    """Return the tracker with what was learned without a sequence, where that is known, and chosen without it."""
    file = None if fits is None else fits / f"{kind}_without_{name}.json"
    if file is None:
        return tracker
    known: dict[str, Any] = json.loads(file.read_text())
    detector = tracker.detector
    tracker.detector = Detector(BoxNoise(known["weights"]), calibrated(known), detector.trust, detector.least)
    tracker.predictor = Predictor(ConstantVelocity(known["acceleration"], known["walk"]))
    start = tracker.initiator
    tracker.initiator = Initiator(known["speed"], start.least, start.doubt, start.box)
    rate = tracker.base_rate
    if rate is not None and "trained" in known:
        tracker.base_rate = BaseRate(known["trained"], rate.weight, rate.memory, rate.most)
    return chosen_of(tracker, known["chosen"]) if chosen and "chosen" in known else tracker


def calibrated(known: dict[str, Any]) -> ScoreCalibration:
    """Return the calibration of a file of recipes/track_fit.py."""
    return ScoreCalibration(known["slope"], known["offset"], known.get("range", 0.0))


def chosen_of(tracker: Tracker, chosen: dict[str, Any]) -> Tracker:
    """Return the tracker with the thresholds of recipes/track_choose.py."""
    seen, prior = chosen["existence"]
    own, existence, associator = cast(Any, tracker.confirmer), tracker.updater.existence, cast(Any, tracker.associator)
    tracker.updater.existence = Existence(seen, existence.leaving, prior, existence.most)
    tracker.confirmer = ByExistence(chosen["told"], own.evidence, own.misses)
    tracker.deleter.silence = chosen["silence"]
    for one in associator.passes if isinstance(associator, Cascade) else [associator]:
        affinity = one.affinity
        affinity.reach = affinity.reach * chosen["reach"]
        if isinstance(affinity, CentreDistance):
            affinity.limit = affinity.reach
    return tracker


def weighed(joins: CameraEvidence, kind: str, name: str, fits: Path | None) -> CameraEvidence:
    """Return what the camera's boxes are worth, as learned without a sequence where that is known."""
    known: dict[str, Any] = {} if fits is None else json.loads((fits / f"{kind}_without_{name}.json").read_text())
    if "camera" not in known:
        return joins
    told, alone = known["camera"], joins.alone
    own, seen, slope, unseen = (float(told[name]) for name in ("own", "seen", "slope", "unseen"))
    if alone is not None:
        calibration = ScoreCalibration(*told["alone"])
        kept = alone.least, alone.limit, alone.existence, alone.prior, alone.repeats, alone.start
        alone = PictureUpdater(calibration, told["edges"], *kept)
    return CameraEvidence(own, seen, slope, unseen, joins.least, alone, joins.heir, joins.claims)


class Followed(NamedTuple):
    """What came of all sequences."""

    histories: list[History]
    nis: Tensor
    speed: float


def followed(
    sequences: list[Sequence], make: Callable[[str], Tracker], weigh: Callable[[str], CameraEvidence] | None = None
) -> Followed:
    """Run a tracker a sequence; frames a second are of the process's time."""
    histories, seconds = list[History](), 0.0
    for one in sequences:
        tracker = make(one.name)
        began = time.process_time()
        if weigh is None or one.added is None:
            histories.append(tracker.run(one.detections, added=one.added))
        else:
            evidence, seen = weigh(one.name), one.detections
            histories.append(run_pictured(tracker, evidence, seen, one.picture, added=one.added, silent=one.away))
        seconds += time.process_time() - began
    frames = sum(len(one.detections) for one in sequences)
    return Followed(histories, torch.cat([history.consistency().nis for history in histories]), frames / seconds)


class Line(NamedTuple):
    """A row of the table: tracks that are told of, and all there are."""

    name: str
    sequences: list[Sequence]
    told: list[Objects]
    every: list[Objects]
    run: Followed


def ours(sequences: list[Sequence], run: Followed, sensors: str) -> list[Line]:
    """Return our rows, one a mode."""
    lines, both = list[Line](), list(zip(run.histories, sequences, strict=True))
    for mode in MODES:
        label = "fixed-lag (2 s)" if mode == "fixed-lag" else mode
        told = [tell(h, one.detections, mode) for h, one in both]
        every = [tell(h, one.detections, mode, confirmed=False) for h, one in both]
        lines.append(Line(f"mambats, {sensors}, {label}", sequences, told, every, run))
    return lines


def peer(kind: str, sequences: list[Sequence], name: str) -> Line:
    """Return the row of AB3DMOT's settings."""
    run = followed(sequences, lambda _: published(kind))
    every = [scored(history, one.detections) for history, one in zip(run.histories, sequences, strict=True)]
    return Line(name, sequences, [above(one, PUBLISHED[kind][-1]) for one in every], every, run)


def table(root: Path, kind: str, names: list[str], recipe: Path, fits: Path | None, camera: str) -> None:
    """Print the rows of a class."""
    sequences = [read(root, kind, name) for name in names]
    given = read_recipe(recipe)
    lines = [peer(kind, sequences, "AB3DMOT's settings, online, whole-track threshold")]
    sequences = [drawn(one, silhouette(given.silhouette, kind, one.name, fits)) for one in sequences]
    if given.silhouette is not None:
        lines.append(peer(kind, sequences, "the same with our silhouettes"))
    joins, sensors = given.camera, "LiDAR"
    weigh: Callable[[str], CameraEvidence] | None = None
    if camera and joins is not None:
        weigh, sensors = lambda name: weighed(joins, kind, name, fits), f"LiDAR + camera{AWAY[camera]}"
        sequences = [joined(root, kind, cut(one, camera), weigh(one.name)) for one in sequences]
    run = followed(sequences, lambda name: fitted(read_recipe(recipe).tracker, kind, name, fits), weigh)
    lines += ours(sequences, run, sensors)
    print(f"\n{kind}, {len(names)} sequences" + (", leave-one-out" if fits else ", settings from all of them"))
    ious = IOUS[kind]
    heads = [*SHOWN, *(f"sAMOTA {iou:g}" for iou in ious), *(f"all {iou:g}" for iou in ious), "IDSW 3-D"]
    print("| tracker | " + " | ".join(heads) + " | NIS/7 | in 95 % band | frames/s |")
    print("|---|" + "---:|" * (len(heads) + 3))
    for line in lines:
        found = scores(kind, line.sequences, line.told)
        cells = [f"{found[n]:.0f}" if n in ("FP", "FN", "IDSW") else f"{100 * found[n]:.2f}" for n in SHOWN]
        solid = [scores(kind, line.sequences, line.told, iou) for iou in ious]
        every = [scores(kind, line.sequences, line.every, iou) for iou in ious]
        cells += [f"{100 * one['sAMOTA']:.2f}" for one in (*solid, *every)] + [f"{solid[0]['IDSW']:.0f}"]
        nis = line.run.nis
        band = ((nis > BAND[0]) & (nis < BAND[1])).double().mean()
        cells += [f"{nis.mean() / 7:.2f}", f"{band:.1%}", f"{line.run.speed:,.0f}"]
        print(f"| {line.name} | " + " | ".join(cells) + " |", flush=True)


def scores(kind: str, sequences: list[Sequence], tracks: list[Objects], iou: float | None = None) -> dict[str, float]:
    """Return TrackEval's scores in the picture, or AB3DMOT's in space at a least overlap."""
    seen = [in_picture(t, s.picture) for t, s in zip(tracks, sequences, strict=True)]
    scored = [Scored(s.name, s.labels, renamed(t, s.labels)) for t, s in zip(seen, sequences, strict=True)]
    if iou is None:
        return evaluate(scored, [kind])["TrackEval"][kind]
    return evaluate(scored, [kind], "iou_3d", iou)["AB3DMOT"][kind]


def cut(one: Sequence, camera: str) -> Sequence:
    """Return a sequence whose LiDAR is silent at times: in its second half, or for 1 s of every 5 s."""
    at = torch.arange(len(one.detections))
    if camera not in ("half", "gaps"):
        return one
    away = at >= len(at) // 2 if camera == "half" else at % 50 >= 40
    return one._replace(detections=one.detections.take(~away[one.detections.frames]), away=away)


def renamed(tracks: Objects, labels: Objects) -> Objects:
    """Return tracks with the class numbers of the labels."""
    number = torch.tensor([labels.classes.index(name) for name in tracks.classes])
    return replace(tracks, labels=number[tracks.labels], classes=labels.classes)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--class", dest="kinds", action="append", choices=CLASSES)
    parser.add_argument("--fits", type=Path)
    parser.add_argument(
        "--camera",
        nargs="?",
        const="on",
        default="",
        choices=list(AWAY),
        help="join det2d_rrc, for ours; LiDAR may be off",
    )
    parser.add_argument("--sequences", help="names with commas between; default: all that have labels")
    given = parser.parse_args()
    torch.set_num_threads(1)
    names = sorted(path.stem for path in (given.root / "label_02").glob("*.txt"))
    names = given.sequences.split(",") if given.sequences else names
    for kind in given.kinds or CLASSES:
        recipe = Path(__file__).parent / "track" / f"kitti_{kind.lower()}.yaml"
        table(given.root, kind, names, recipe, given.fits, given.camera)


if __name__ == "__main__":
    main()
