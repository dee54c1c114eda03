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

from mambats.checkpoint import load_task
from mambats.checkpoint.plugin import SafeCheckpointIO
from mambats.encoders import CausalEncoder
from mambats.formats.kitti import read_calibration, read_detections, read_tracks
from mambats.task import Optimiser
from mambats.track import Objects, Tracker, tell
from mambats.track.job import read_recipe
from mambats.track.kitti import from_kitti
from mambats.track.learned import CalibratedTracker, InnovationNoise, NoiseTask, PathData
from mambats.track.learned.labelled import Labelled, labelled
from mambats.track.learned.paths import paths_of
from mambats.track.learned.scan import follow
from mambats.track.learned.task import losses
from mambats.track.metrics import evaluate
from mambats.track.metrics.consistency import consistency_scores
from mambats.track.projection import in_picture, picture_of

CLASSES = ("Car", "Pedestrian", "Cyclist")
NOISES = ("recipe", "classical", "learned")
SHORT = ("0017",)  # holds too little to validate on
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
        task = NoiseTask(InnovationNoise(CLASSES, encoder), Optimiser(0.01, 0.05, 0.1), tune=tune)
        kept = ModelCheckpoint(folder, f"without_{out[0]}", monitor="val_loss", enable_version_counter=False)
        trainer = lightning.Trainer(
            accelerator="cpu", max_epochs=epochs, logger=False, enable_progress_bar=False, callbacks=[kept],
            plugins=[SafeCheckpointIO()], gradient_clip_val=1.0, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(task, datamodule=data)
        for name, ending in ((name, ending) for name in out[1:] for ending in (".ckpt", ".ckpt.sha256")):
            shutil.copy(folder / f"without_{out[0]}{ending}", folder / f"without_{name}{ending}")
        plain = validated(task.model.classical(), data)
        said = {"fold": fold, "val": val, "classical": plain, "best": float(kept.best_model_score or torch.nan)}
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

    def recordings(self) -> list[object]:
        """Return none."""
        return []


def contestants(recipe: Path, checkpoint: Path, kind: str) -> dict[str, Tracker]:
    """Return the recipe's tracker, and the same with the classical part and with the encoder of a checkpoint.

    The calibration of scores is the fold's in all of them; the recipe's noise is of all sequences.
    """
    own, model = read_recipe(recipe).tracker, load_task(checkpoint).model
    own.detector.calibration = model.calibration(model.classes.index(kind))
    return {
        NOISES[0]: own,
        NOISES[1]: CalibratedTracker(own, model.classical(), kind),
        NOISES[2]: CalibratedTracker(own, model, kind),
    }


class Line(NamedTuple):
    """What a contestant left: tracks by mode, innovations, seconds, and log likelihood."""

    tracks: dict[str, list[Scored]]
    raw: list[Tensor]
    equal: list[Tensor]
    seconds: list[float]


def table(root: Path, kind: str, names: list[str], fits: Path, noises: list[str]) -> None:
    """Print the rows of a class."""
    recipe = Path(__file__).parent / "track" / f"kitti_{kind.lower()}.yaml"
    lines, frames = dict[str, Line](), 0
    for name in names:
        found, truth = read(root, name, kind)
        frames += len(found)
        camera = torch.from_numpy(read_calibration(root / "calib" / f"{name}.txt").projection(2))
        known = contestants(recipe, fits / f"without_{name}.ckpt", kind)
        for label, tracker in known.items():
            if label not in noises:
                continue
            line = lines.setdefault(label, Line({"online": [], "fixed-lag": []}, [], [], []))
            began = time.process_time()
            history = tracker.run(found)
            line.seconds.append(time.process_time() - began)
            told = history.consistency()
            line.raw.append((told.residual * torch.linalg.solve(told.covariance, told.residual)).sum(-1))
            line.equal.append(told.nis)
            for mode, some in line.tracks.items():
                made = in_picture(tell(history, found, mode), camera, picture_of(found))  # pyright: ignore
                some.append(Scored(name, truth, renamed(made, truth)))
    print(f"\n{kind}, {len(names)} sequences, leave-one-out")
    print("| noise | mode | " + " | ".join(SHOWN) + " | NIS/7 | in band | NIS/7 as said | in band as said | frames/s |")
    print("|---|---|" + "---:|" * (len(SHOWN) + 5))
    for label, line in lines.items():
        for mode, some in line.tracks.items():
            scores = evaluate(some, [kind])["TrackEval"][kind]
            cells = [f"{scores[n]:.0f}" if n == "IDSW" else f"{100 * scores[n]:.2f}" for n in SHOWN]
            for values in (line.raw, line.equal):
                band = consistency_scores(torch.cat(values))
                cells += [f"{band['per_degree']:.2f}", f"{band['inside']:.1%}"]
            print(f"| {label} | {mode} | " + " | ".join(cells) + f" | {frames / sum(line.seconds):,.0f} |", flush=True)


def renamed(tracks: Objects, labels: Objects) -> Objects:
    """Return tracks with the class numbers of the labels."""
    from dataclasses import replace

    number = torch.tensor([labels.classes.index(name) for name in tracks.classes])
    return replace(tracks, labels=number[tracks.labels], classes=labels.classes)


def numbers(checkpoint: Path, kind: str) -> None:
    """Print the classical part of a checkpoint as a recipe has it."""
    model: InnovationNoise = load_task(checkpoint).model
    k = model.classes.index(kind)
    base = {name: one.detach()[k] for name, one in model.base.items()}
    rounded = {name: torch.round(one, decimals=3).tolist() for name, one in base.items()}
    drive = [round(v, 4) for v in base["drive"].exp().tolist()]
    print(f"slope, offset: {[round(v, 3) for v in model.score[k].tolist()]}")
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
    parser.add_argument("--noise", dest="noises", action="append", choices=NOISES)
    parser.add_argument("--tune", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "numbers":
        return [numbers(given.root, kind) for kind in given.kinds or CLASSES] and None
    folds = given.folds.split(",") if given.folds else names_of(given.root)
    if given.what == "fit":
        return fit(given.root, folds, given.write, given.tune, given.epochs, given.seed)
    for kind in given.kinds or CLASSES:
        table(given.root, kind, folds, given.fits, given.noises or list(NOISES))
    return None


if __name__ == "__main__":
    main()
