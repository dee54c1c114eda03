"""The tables of raw sensors to tracks: sweeps to boxes (AP), boxes to tracks (HOTA), and the filter's consistency.

    python recipes/raw_table.py oracle                       # the tracker in a world whose laws it has: NIS, HOTA
    python recipes/raw_table.py train runs/raw               # a GPU: 3 seeds, with and without pictures
    python recipes/raw_table.py clusters runs/raw            # the classical way on the same held-out drives
    python recipes/raw_table.py table runs/raw               # AP and HOTA of all that lies there; how errors of boxes
                                                             # repeat is fitted on the drives for calibration

Everything is drawn from seeds; held-out drives have a seed of their own, the same for all. All is online: boxes of a
sweep are made of it and of what was before it, tracks of a frame likewise.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from raw_tracks import CLASSES, scored, tracked, tracker_of
from torch import Tensor, nn

from mambats.encoders.features import ImageEncoder, PillarEncoder, PointGrid
from mambats.task import Optimiser, parameter_groups
from mambats.track import (
    ConstantVelocity,
    Predictor,
    ScoreCalibration,
)
from mambats.track.centre import (
    CentreDetector,
    ClusterDetector,
    DetectionScores,
    Found,
    ImageLift,
    OverlapScores,
    SweepBatch,
    SweepTable,
    find_in,
)
from mambats.track.centre.task import varied
from mambats_datasets.synthetic.crossing import CrossingWorlds, StatedDetector
from mambats_datasets.synthetic.world import Camera, Lidar
from mambats_datasets.synthetic.world.lidar_drives import LidarDrives

BEFORE = (0, 2, 4)
CAMERA = Camera(192, 64, math.pi / 2)  # patches of 4 pixels are 1.9 degrees wide, 0.7 m at 20 m
HELD_SEED = 9_000
SIDE = 38.4  # m: what lies beyond is not asked for
SPARSE = 0.1  # of the points: about three rings of 32
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def oracle(scenes: int, seed: int) -> list[dict[str, Any]]:
    """Track crossing bodies with the very laws they move, are seen and scored by."""
    made = CrossingWorlds().batch(scenes, torch.Generator().manual_seed(seed))
    calibration = ScoreCalibration(2 * StatedDetector().separation, math.log(made.odds))
    rows = list[dict[str, Any]]()
    for name, density in zip(CLASSES, (0.5, 0.1, 0.3), strict=True):
        tracker = tracker_of(name, calibration, density**0.5)
        tracker.predictor = Predictor(ConstantVelocity([density**0.5] * 2 + [1e-3], [1e-4, 1e-4, 1e-4, 1e-2]))
        runs = [tuple(part.of_class(name) for part in made.objects(row)) for row in range(scenes)]
        rows.append({"class": name} | scored(name, tracker, runs, [None] * scenes))
    return rows


def model_of(side: float, cell: float, width: int, camera: bool = False) -> CentreDetector:
    """Return an untrained detector: that of recipes/track/raw_sim.yaml at its sizes, or of raw_sim without pictures."""
    grid = PointGrid((-side, -side, -3.0), (side, side, 5.0), (cell, cell, 8.0))
    lift = ImageLift(ImageEncoder(3, width, 2, (CAMERA.height, CAMERA.width), 4), width) if camera else None
    return CentreDetector(PillarEncoder(6, width, grid, layers=0), CLASSES, inner=width, camera=lift)


def train(words: argparse.Namespace) -> None:
    """Simulate, train by the clock, with and without pictures; find bodies in the held-out drives."""
    words.folder.mkdir(parents=True, exist_ok=True)
    lidar, began = Lidar(columns=words.columns), time.monotonic()
    drives = [LidarDrives(32, words.seconds, 1 + n, None, lidar, None, DEVICE, CAMERA) for n in range(words.parts)]
    sweeps = SweepTable.joined([some.sweeps() for some in drives])
    print(f"{len(sweeps):,} sweeps in {time.monotonic() - began:.0f} s", flush=True)
    sweeps, held = sweeps.to(DEVICE), held_out(words)
    for seed in words.seeds:
        for camera in {"both": (False, True), "yes": (True,), "no": (False,)}[words.camera]:
            one(sweeps, held, words, seed, camera)
    if words.one_sweep:
        words.before = [0]
        one(sweeps, held, words, words.seeds[0], False)


def one(sweeps: SweepTable, held: SweepTable, words: argparse.Namespace, seed: int, camera: bool) -> None:
    """Train one detector and find bodies in the held-out drives, with all sensors and without each."""
    torch.manual_seed(seed)
    settings = {name: getattr(words, name) for name in ("side", "cell", "width")} | {"camera": camera}
    model = model_of(**settings).to(DEVICE)
    steps = fit(model, sweeps, words)
    stem = f"{'fused' if camera else 'lidar'}{'' if len(words.before) > 1 else '_one_sweep'}_{seed}"
    torch.save({"state": model.state_dict(), "settings": settings}, words.folder / f"centre_{stem}.pt")
    model.eval()
    rows = {"": {}, "_sparse": {"share": SPARSE}}
    if camera:
        rows |= {"_no_camera": {"camera": False}, "_no_lidar": {"lidar": False}}
        rows |= {"_sparse_no_camera": {"share": SPARSE, "camera": False}}
    for word, missing in rows.items():
        keep(words.folder / f"found_{stem}{word}.npz", find_in(model, held, words.before, **missing))
    most = torch.cuda.max_memory_allocated() / 2**30 if DEVICE == "cuda" else 0.0
    print(f"{stem}: {steps:,} steps of {words.batch}, {most:.1f} GiB at most", flush=True)


def held_out(words: argparse.Namespace) -> SweepTable:
    """Return the held-out drives, simulated once, and on the CPU: a GPU would draw others, and scores would differ."""
    lidar = Lidar(columns=words.columns)
    source = LidarDrives(words.held, words.held_seconds, HELD_SEED, None, lidar, str(words.folder), camera=CAMERA)
    held = source.sweeps()
    truth = replace(held, points=held.points[:, :1], images=None, projection=None)
    truth.save(words.folder / "truth.npz")  # a table can be made of it where the drives are not
    return held


def fit(model: CentreDetector, sweeps: SweepTable, words: argparse.Namespace) -> int:
    """Train, and return the steps."""
    optimiser = torch.optim.AdamW(parameter_groups(model, Optimiser().weight_decay), lr=words.lr)
    began, step = time.monotonic(), 0
    # So many steps, or fewer where the clock ends first: the learning rate follows whichever is nearer to its end.
    while (share := max((time.monotonic() - began) / (60 * words.minutes), step / words.steps)) < 1:
        for group in optimiser.param_groups:
            group["lr"] = words.lr * min((share + 0.002) / 0.05, 0.5 * (1 + math.cos(math.pi * share)))
        rows = torch.randint(len(sweeps), (words.batch,), device=DEVICE)
        # One sweep in five stands alone, so that the detector can also begin a drive.
        batch = sweeps.batch(rows, words.before if torch.rand(()) < 0.8 else (0,))
        batch = varied(batch, 0.5, 0.2, 0.1 if model.camera is not None else 0.0)
        with torch.autocast(DEVICE, dtype=torch.bfloat16, enabled=DEVICE == "cuda"):
            parts = model.losses(batch)
            loss = torch.stack(list(parts.values())).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        step += 1
        if step % 100 == 0:
            told = "  ".join(f"{name} {float(part.detach()):.3f}" for name, part in parts.items())
            print(f"step {step}  {told}  {100 * share:.0f} %", flush=True)
    return step


def keep(path: Path, found: Found) -> None:
    """Write what was found, without what no score of 0.05 stands behind."""
    kept = found.score > 0.05
    np.savez_compressed(path, **{
        name: (part * kept.view(*kept.shape, *(1,) * (part.ndim - 2))).numpy() for name, part in found._asdict().items()
    })  # fmt: skip


def clusters(words: argparse.Namespace) -> None:
    """Find clusters in the held-out drives."""
    held, finder = held_out(words), ClusterDetector(CLASSES)
    found = [finder.find(held.batch(some).points) for some in torch.arange(len(held)).split(16)]
    keep(words.folder / "found_clusters.npz", Found(*(torch.cat(part) for part in zip(*found, strict=True))))


def table(words: argparse.Namespace) -> list[dict[str, Any]]:
    """Return and print AP and HOTA of each set of detections that lies in the folder, and of true boxes with noise."""
    path = words.folder / "truth.npz"
    held, rows = SweepTable.load(path) if path.is_file() else held_out(words), list[dict[str, Any]]()
    sets = {"true boxes with noise": noisy(held)}
    chosen = None if words.only is None else words.only.split(",")
    for path in sorted(words.folder.glob("found_*.npz")):
        if chosen is not None and path.stem.removeprefix("found_") not in chosen:
            continue
        with np.load(path) as stored:
            sets[path.stem.removeprefix("found_")] = Found(*(torch.from_numpy(stored[name]) for name in Found._fields))
    for model, found in sets.items():
        for word, where in (("all around", in_grid), ("in view", in_view))[: 2 if chosen is None else 1]:
            truth = replace(held, labels=torch.where(where(held.boxes), held.labels, -1))
            some = found._replace(score=found.score * where(found.boxes))
            batch = SweepBatch(held.points[:, :1], truth.boxes, truth.velocity, truth.labels)
            made, row = dict[str, Tensor](), {"model": model, "where": word}
            for scores in (DetectionScores(CLASSES), OverlapScores(CLASSES)):
                scores.update(some, batch)
                made |= scores.compute()
            rows.append(row | {name: float(value) for name, value in made.items()})
            rows += [row | {"class": name} | tracked(name, truth, some, batch, words) for name in CLASSES]
        (words.folder / "table.json").write_text(json.dumps(rows, indent=1))
    for row in rows:
        print("  ".join(f"{key} {value:.3f}" if isinstance(value, float) else str(value) for key, value in row.items()))
    return rows


def noisy(held: SweepTable) -> Found:
    """Return true boxes, one in twenty left out, with noise of 10 cm, 5 cm and 0.05 rad, and velocities 0.5 m/s off."""
    generator = torch.Generator().manual_seed(0)
    deviation = torch.tensor([0.1] * 3 + [0.05] * 4 + [0.5] * 2)
    noise = deviation * torch.randn(*held.labels.shape, 9, generator=generator)
    score = 0.9 * ((held.labels >= 0) & (torch.rand(held.labels.shape, generator=generator) > 0.05))
    boxes, velocity = held.boxes + noise[..., :7], held.velocity + noise[..., 7:]
    return Found(boxes, velocity, score, held.labels.clamp_min(0), deviation.square().expand(*held.labels.shape, 9))


def in_grid(boxes: Tensor) -> Tensor:
    """Whether boxes (..., 7) lie in the detector's grid."""
    return (boxes[..., :2].abs() < SIDE).all(-1)


def in_view(boxes: Tensor) -> Tensor:
    """Whether the middles of boxes (..., 7) lie in the grid and before the camera, which sits 1.2 m ahead."""
    ahead = boxes[..., 0] - 1.2
    return in_grid(boxes) & (ahead > 2) & (boxes[..., 1].abs() < ahead * math.tan(CAMERA.view / 2))


def parsed() -> argparse.Namespace:
    """Return the words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("oracle", "train", "clusters", "table"))
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs/raw"))
    for name, value in {
        "seed": 0,
        "steps": 3000,
        "scenes": 100,
        "rounds": 2,
        "held": 16,
        "parts": 16,
        "batch": 16,
        "width": 64,
        "columns": 360,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    for name, value in {
        "minutes": 4.0,
        "seconds": 3.0,
        "held_seconds": 6.0,
        "side": SIDE,
        "cell": 0.4,
        "lr": 2e-3,
    }.items():
        parser.add_argument(f"--{name}", type=float, default=value)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--before", type=int, nargs="+", default=list(BEFORE))
    parser.add_argument("--one-sweep", action="store_true", help="one training more, without earlier sweeps")
    parser.add_argument(
        "--white", action="store_true", help="table: take errors of boxes for white, as most filters do"
    )
    parser.add_argument(
        "--told", type=float, default=0.0, help="table: 0.25 takes the head's velocities, at 4 deviations"
    )
    parser.add_argument("--only", help="table: names of models with commas between, all around alone")
    parser.add_argument("--camera", choices=("both", "yes", "no"), default="both")
    return parser.parse_args()


def main() -> None:
    """Do what the command line asks."""
    words = parsed()
    if words.command == "oracle":
        for row in oracle(words.scenes, words.seed):
            print("  ".join(f"{k} {v:.3f}" if isinstance(v, float) else str(v) for k, v in row.items()))
    else:
        {"train": train, "clusters": clusters, "table": table}[words.command](words)


if __name__ == "__main__":
    main()
