"""Noise of tracks, classical and learned, leave-one-out on labelled sequences in KITTI's layout.

    python recipes/track_learned.py fit ROOT --folds 0000+0011,0002+0020 --write runs/track_noise   a fold a checkpoint
    python recipes/track_learned.py table ROOT --fits runs/track_noise                    tracks scored, one table
    python recipes/track_learned.py numbers CHECKPOINT --class Car                        the classical part as YAML

A fold's sequences (joined by +) are seen by nothing that is fitted: not by the calibration of scores, the classical
noise, nor the encoder, which is kept from the epoch where another sequence's loss was least. ROOT is as kitti_tracking
of the KITTI corpus: `label_02`, `calib`, detections a class in `det3d_pointrcnn`. Numbers learned from KITTI are
non-commercial.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from track_table import renamed, silhouette

from mambats.checkpoint import load_task
from mambats.checkpoint.plugin import SafeCheckpointIO
from mambats.encoders import CausalEncoder
from mambats.formats.kitti import read_calibration, read_detections, read_tracks
from mambats.series import Recording
from mambats.task import Optimiser
from mambats.track import Objects, Tracker, tell
from mambats.track.association import Matches
from mambats.track.base_rate import BaseRate
from mambats.track.detector import BoxNoise, Detections, Detector
from mambats.track.existence import Existence
from mambats.track.history import History
from mambats.track.initiator import Initiator
from mambats.track.kitti import from_kitti
from mambats.track.learned import CalibratedTracker, InnovationNoise, NoiseTask, PathData
from mambats.track.learned.box import SIZE
from mambats.track.learned.labelled import Labelled, labelled
from mambats.track.learned.model import Memory
from mambats.track.learned.paths import paths_of
from mambats.track.learned.scan import follow
from mambats.track.learned.student import student_log_likelihood
from mambats.track.learned.task import losses
from mambats.track.metrics import evaluate
from mambats.track.metrics.consistency import consistency_scores
from mambats.track.motion import ConstantVelocity
from mambats.track.predictor import Predictor
from mambats.track.projection import Picture, in_picture, outlined
from mambats.track.recipe import read_recipe
from mambats.track.smoother import smoothed
from mambats.track.tracks import Tracks
from mambats.track.updater import Told, Updater

CLASSES = ("Car", "Pedestrian", "Cyclist")
NOISES = ("recipe", "refitted", "classical", "learned")
SHORT = ("0017",)  # holds too little to validate on
MODES = ("online", "fixed-lag")
RECIPES = Path(__file__).parent / "track"
SHOWN = ("HOTA", "DetA", "AssA", "MOTA", "IDF1", "IDSW")


class Scored(NamedTuple):
    """What `evaluate` reads."""

    name: str
    labels: Objects
    tracks: Objects


def names_of(root: Path) -> list[str]:
    """Return the sequences that have labels."""
    return sorted(path.stem for path in (root / "label_02").glob("*.txt"))


def read(root: Path, name: str, kind: str) -> tuple[Objects, Objects]:
    """Return detections of a class and labels of all, over the same frames."""
    files = root / "det3d_pointrcnn" / kind / f"{name}.txt", root / "label_02" / f"{name}.txt"
    frames = max(len(read_detections(files[0]).stamps), len(read_tracks(files[1]).stamps))
    return from_kitti(read_detections(files[0], frames)).of_class(kind), from_kitti(read_tracks(files[1], frames))


class Rules(NamedTuple):
    """What recipes have of each class.

    Args:
        existence: Rules beside which the encoder's is learned.
        least: Log odds from which tracks are told of.
        ranged: Classes whose scores are calibrated by range, too.
    """

    existence: list[Existence]
    least: list[float]
    ranged: list[str]


def rules() -> Rules:
    """Read them."""
    known = {kind: read_recipe(RECIPES / f"kitti_{kind.lower()}.yaml").tracker for kind in CLASSES}
    existence = [one.updater.existence for one in known.values()]
    least: list[float] = [one.confirmer.least for one in known.values()]  # pyright: ignore[reportAttributeAccessIssue]
    return Rules(existence, least, [kind for kind, one in known.items() if one.detector.calibration.range != 0])


def fit(root: Path, folds: list[str], folder: Path, tune: int, epochs: int, seed: int) -> None:
    """Fit a model for every fold, without its sequences."""
    names = names_of(root)
    known = dict[str, list[tuple[int, Labelled]]]()
    for name in names:
        known[name] = [(k, labelled(*read(root, name, kind), kind)) for k, kind in enumerate(CLASSES)]
    for fold in folds:
        out = fold.split("+")
        began, began_cpu = time.monotonic(), time.process_time()
        lightning.seed_everything(seed, verbose=False)
        val = next(one for one in (*names[names.index(out[-1]) + 1 :], *names) if one not in (*out, *SHORT))
        data = PathData(_Known(), CLASSES, val=[val], test=out, length=30, cells=6000, seed=seed)
        parts = {"test": out, "val": [val], "train": [one for one in names if one not in (*out, val)]}
        data.sequences = parts
        data.paths = {split: paths_of([p for one in some for p in known[one]], data.length)
                      for split, some in parts.items()}  # fmt: skip
        data.fingerprint = ",".join(parts["train"])
        encoder = CausalEncoder(InnovationNoise.channels_for(CLASSES), width=16, layers=1)
        given = rules()
        model = InnovationNoise(CLASSES, encoder, given.existence, ranged=given.ranged)
        task = NoiseTask(model, Optimiser(0.01, 0.05, 0.1), tune=tune, confirmed=given.least)
        kept = ModelCheckpoint(folder, f"without_{out[0]}_{seed}", monitor="val_loss", enable_version_counter=False)
        trainer = lightning.Trainer(
            accelerator="cpu", max_epochs=epochs, logger=False, enable_progress_bar=False, callbacks=[kept],
            plugins=[SafeCheckpointIO()], gradient_clip_val=1.0, enable_model_summary=False, num_sanity_val_steps=0,
        )  # fmt: skip
        trainer.fit(task, datamodule=data)
        for name, ending in ((name, ending) for name in out[1:] for ending in (".ckpt", ".ckpt.sha256")):
            shutil.copy(folder / f"without_{out[0]}_{seed}{ending}", folder / f"without_{name}_{seed}{ending}")
        model = load_task(folder / f"without_{out[0]}_{seed}.ckpt").model
        said = {"fold": fold, "seed": seed, "val": val, "classical": validated(model.classical(), data)}
        said |= {"learned": validated(model, data), "trust": model.trust.tolist()}
        said |= {"seconds": round(time.monotonic() - began), "cpu": round(time.process_time() - began_cpu)}
        print(json.dumps(said), flush=True)


@torch.no_grad()
def validated(model: InnovationNoise, data: PathData) -> float:
    """Return the validation loss of a model, as its training counts it."""
    total, count = 0.0, 0
    for batch in data.val_dataloader():
        rows = int(batch.seen.sum())
        total += rows * float(sum(losses(follow(model, batch), batch, len(model.classes))))
        count += rows
    return total / count


class _Known:
    """Stands for a source whose recordings were read before."""

    name = "kitti_tracking"

    def recordings(self) -> list[Recording]:
        """Return none."""
        return []


class Listening(CalibratedTracker):
    """Notes the freedom that was said of each innovation, by the row of its detection."""

    freedom: dict[int, float]

    def as_said(self, told: Told, seen: Detections, matches: Matches, memory: Memory) -> Told:
        """Note it."""
        owner = dict(zip(seen.row[matches.detection].tolist(), matches.track.tolist(), strict=True))
        own = self.model.freedom(self._settings, memory)
        self.freedom |= {row: float(own[owner[row]]) for row in told.row.tolist()}
        return super().as_said(told, seen, matches, memory)


class Noted:
    """An updater that notes the covariance of the detections taken, by row."""

    def __init__(self, updater: Updater) -> None:
        self.updater, self.sensor = updater, dict[int, Tensor]()

    def __call__(
        self, tracks: Tracks, detections: Detections, matches: Matches, elapsed: float | Tensor
    ) -> tuple[Tracks, Told]:
        """Update as the other does."""
        rows = detections.row[matches.detection].tolist()
        self.sensor |= dict(zip(rows, detections.covariance[matches.detection], strict=True))
        return self.updater(tracks, detections, matches, elapsed)


def contestants(recipe: Path, checkpoint: Path, kind: str, plain: Path | None) -> dict[str, Tracker]:
    """Return the recipe's tracker, and the same with the classical part and with the encoder of a checkpoint.

    The calibration of scores is the fold's in all of them, and so is the share of true detections where the file of
    recipes/track_fit.py holds one. The recipe's noise is of all sequences; of the same form, fitted without this one,
    is what that file holds.
    """
    own, model = read_recipe(recipe).tracker, load_task(checkpoint).model
    known = {} if plain is None else json.loads(plain.read_text())
    if own.base_rate is not None and "trained" in known:
        own.base_rate = BaseRate(known["trained"], own.base_rate.weight, own.base_rate.memory, own.base_rate.most)
    score = own.detector.calibration = model.calibration(model.classes.index(kind))
    made = {NOISES[0]: own, NOISES[2]: Listening(own, model.classical(), kind), NOISES[3]: Listening(own, model, kind)}
    if plain is not None:
        again = made[NOISES[1]] = read_recipe(recipe).tracker
        again.base_rate = own.base_rate
        again.detector = Detector(BoxNoise(known["weights"]), score, own.detector.trust, own.detector.least)
        again.predictor = Predictor(ConstantVelocity(known["acceleration"], known["walk"]))
        again.initiator = Initiator(known["speed"], own.initiator.least, own.initiator.doubt, own.initiator.box)
    return {name: made[name] for name in NOISES if name in made}


class Line(NamedTuple):
    """What a contestant left of some sequences: tracks and nats by mode, innovations, and seconds."""

    tracks: dict[str, list[Scored]]
    nats: dict[str, list[dict[int, float]]]
    raw: list[Tensor]
    equal: list[Tensor]
    seconds: list[float]


def ran(tracker: Tracker, found: Objects, line: Line) -> History:
    """Track a sequence, and note what it says of its innovations."""
    tracker.freedom = {}  # pyright: ignore[reportAttributeAccessIssue]
    began = time.process_time()
    history = tracker.run(found)
    line.seconds.append(time.process_time() - began)
    told = history.consistency()
    raw = (told.residual * torch.linalg.solve(told.covariance, told.residual)).sum(-1)
    line.raw.append(raw)
    line.equal.append(told.nis)
    tracker.updater, plain = Noted(tracker.updater), tracker.updater  # pyright: ignore[reportAttributeAccessIssue]
    tracker.run(found)  # once more, apart from the clock
    tracker.updater, noted = plain, tracker.updater
    freedom: dict[int, float] = tracker.freedom  # pyright: ignore[reportAttributeAccessIssue]
    here = torch.tensor([freedom.get(row, 1e7) for row in told.row.tolist()], dtype=torch.float64)
    nats = student_log_likelihood(raw, told.covariance.logdet(), here, SIZE)
    line.nats["online"].append(dict(zip(told.row.tolist(), nats.tolist(), strict=True)))
    line.nats["fixed-lag"].append(left_out(history, found, noted.sensor, freedom))  # pyright: ignore
    return history


def left_out(
    history: History, found: Objects, sensor: dict[int, Tensor], freedom: dict[int, float], lag: float = 2.0
) -> dict[int, float]:
    """Return the log likelihood, nats, of each detection taken under all others of its track up to `lag` seconds later.

    From a smoothed box of covariance P that holds a detection of residual e and noise R, the detection is taken out
    again: its residual is R (R - P)^-1 e, of covariance R (R - P)^-1 R.
    """
    tracks, state = history.tracks, smoothed(history, lag)
    rows = torch.nonzero((tracks.misses == 0) & (tracks.hits > 1))[:, 0]
    taken = tracks.detection[rows].tolist()
    if not any(t in sensor for t in taken):
        return {}
    rows, noise = rows[[t in sensor for t in taken]], torch.stack([sensor[t] for t in taken if t in sensor])
    taken = [t for t in taken if t in sensor]
    error = found.boxes[taken].double() - state.mean[rows, :SIZE]
    error[:, 6] -= torch.pi * torch.round(error[:, 6] / torch.pi)
    root = torch.linalg.cholesky(noise)
    white = torch.linalg.solve_triangular(root, error[..., None], upper=False)[..., 0]
    half = torch.linalg.solve_triangular(root, state.covariance[rows, :SIZE, :SIZE], upper=False)
    share, axes = torch.linalg.eigh(torch.linalg.solve_triangular(root, half.mT, upper=False))
    left = 1 - share.clamp(0.0, 0.98)  # a track that was caught after a swerve may know less than its detection
    nis = ((axes.mT @ white[..., None])[..., 0].square() / left).sum(-1)
    log_det = noise.logdet() - left.log().sum(-1)
    own = torch.tensor([freedom.get(row, 1e7) for row in taken], dtype=torch.float64)
    return dict(zip(taken, student_log_likelihood(nis, log_det, own, SIZE).tolist(), strict=True))


def table(root: Path, kind: str, names: list[str], fits: Path, plain: Path | None, seeds: list[int]) -> None:
    """Print the rows of a class: means over seeds, of what is learned with deviations."""
    found: dict[tuple[str, str], list[dict[str, float]]] = {}
    for seed in seeds:
        for key, scores in scored(root, kind, names, fits, plain, seed).items():
            found.setdefault(key, []).append(scores)
    print(f"\n{kind}, {len(names)} sequences, leave-out, seeds {', '.join(map(str, seeds))}")
    some = list(next(iter(found.values()))[0])
    print("| noise | mode | " + " | ".join(some) + " |\n|---|---|" + "---:|" * len(some))
    for (label, mode), rows in found.items():
        cells = list[str]()
        for name in some:
            values = torch.tensor([row[name] for row in rows], dtype=torch.float64)
            spread = f" ± {values.std():.2f}" if len(rows) > 1 and label == NOISES[3] else ""
            cells.append(f"{values.mean():.2f}{spread}")
        print(f"| {label} | {mode} | " + " | ".join(cells) + " |", flush=True)


def scored(
    root: Path, kind: str, names: list[str], fits: Path, plain: Path | None, seed: int
) -> dict[tuple[str, str], dict[str, float]]:
    """Return the scores of a class by noise and mode; nats are of the detections that all followed in both modes."""
    recipe, lines, frames = RECIPES / f"kitti_{kind.lower()}.yaml", dict[str, Line](), 0
    looks = read_recipe(recipe).silhouette
    for name in names:
        found, truth = read(root, name, kind)
        frames += len(found)
        camera = torch.from_numpy(read_calibration(root / "calib" / f"{name}.txt").projection(2))
        picture = Picture.of(found, camera, silhouette(looks, kind, name, plain))
        found = outlined(found, picture)
        own = None if plain is None else plain / f"{kind}_without_{name}.json"
        for label, tracker in contestants(recipe, fits / f"without_{name}_{seed}.ckpt", kind, own).items():
            empty = Line({mode: [] for mode in MODES}, {mode: [] for mode in MODES}, [], [], [])
            line = lines.setdefault(label, empty)
            history = ran(tracker, found, line)
            for mode in MODES:
                made = in_picture(tell(history, found, mode), picture)  # pyright: ignore
                line.tracks[mode].append(Scored(name, truth, renamed(made, truth)))
    both = [set.intersection(*(set(line.nats[mode][k]) for line in lines.values() for mode in MODES))
            for k in range(len(names))]  # fmt: skip
    rows = dict[tuple[str, str], dict[str, float]]()
    for label, line in lines.items():
        for mode in MODES:
            scores = evaluate(line.tracks[mode], [kind])["TrackEval"][kind]
            row = {name: scores[name] * (1 if name == "IDSW" else 100) for name in SHOWN}
            nats = [said[row] for said, rows in zip(line.nats[mode], both, strict=True) for row in rows]
            row["nats"] = sum(nats) / max(1, len(nats))
            for title, values in (("", line.raw), (" as said", line.equal)):
                band = consistency_scores(torch.cat(values))
                row |= {f"NIS/7{title}": band["per_degree"], f"in band{title} %": 100 * band["inside"]}
            rows[label, mode] = row | {"frames/s": frames / sum(line.seconds)}
    return rows


def numbers(checkpoint: Path, kind: str) -> None:
    """Print the classical part of a checkpoint as a recipe has it."""
    model: InnovationNoise = load_task(checkpoint).model
    k = model.classes.index(kind)
    base = {name: one.detach()[k] for name, one in model.base.items()}
    rounded = {name: torch.round(one, decimals=3).tolist() for name, one in base.items()}
    drive = [round(v, 4) for v in base["drive"].exp().tolist()]
    print(f"slope, offset, range: {[round(v, 3) for v in model.score[k].tolist()]}")
    lower = torch.round(base["lower"].tril(-1), decimals=3).tolist()
    print(f"AspectNoise: weights: {rounded['weights']}\n  lower: {lower}")
    print(f"ConstantVelocity: acceleration: {drive[:3]}, walk: {drive[3:]}")
    print(f"Initiator: deviation: {[round(v, 3) for v in base['speed'].exp().tolist()]}")
    print(f"freedom {2 + float(base['freedom'].exp()):.2f}, keeps {float(base['keeps'].sigmoid()):.3f} a frame, "
          f"gain {float(base['gain'].exp()):.3f}")  # fmt: skip


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("fit", "table", "numbers"))
    parser.add_argument("root", type=Path)
    parser.add_argument("--folds", help="names with commas between; default: all that have labels")
    parser.add_argument("--write", type=Path, default=Path("runs/track_noise"))
    parser.add_argument("--fits", type=Path, default=Path("runs/track_noise"))
    parser.add_argument("--class", dest="kinds", action="append", choices=CLASSES)
    parser.add_argument("--plain", type=Path, help="of recipes/track_fit.py --each: adds the row of refitted noise")
    parser.add_argument("--tune", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", default="0,1,2", help="with commas between")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "numbers":
        for kind in given.kinds or CLASSES:
            numbers(given.root, kind)
        return None
    folds = given.folds.split(",") if given.folds else names_of(given.root)
    seeds = [int(one) for one in given.seeds.split(",")]
    if given.what == "fit":
        for seed in seeds:
            fit(given.root, folds, given.write, given.tune, given.epochs, seed)
        return None
    for kind in given.kinds or CLASSES:
        table(given.root, kind, folds, given.fits, given.plain, seeds)
    return None


if __name__ == "__main__":
    main()
