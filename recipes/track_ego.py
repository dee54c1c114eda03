"""The sensor's own motion, told from what stands still: against the truth in simulated streets, and what it is worth.

    python recipes/track_ego.py streets [--drives 20]             # errors of a step, beside a sensor at rest; HOTA
    python recipes/track_ego.py kitti $MAMBATS_DATA/fusion/kitti_tracking [--fits runs/track] [--class Car] [--camera]

Streets are told of online. `--fits`: noise, camera and silhouettes fitted without each sequence, as
recipes/track_fit.py ROOT --class K --each --write D does; thresholds are the recipe's. KITTI's tracking files have no
oxts here, so nothing but the tracks' scores is known there; no setting was chosen by them: the estimator's were, in
streets of this seed.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import NamedTuple

import torch
from raw_tracks import ACCELERATION, CLASSES, tracker_of
from torch import Tensor
from track_table import CLASSES as KINDS
from track_table import Sequence, drawn, fitted, joined, read, scores, silhouette, weighed

from mambats.track import History, Objects, ScoreCalibration, run_pictured, tell
from mambats.track.centre import ToldNoise
from mambats.track.ego_path import EgoPath, estimate_path
from mambats.track.job import lasting
from mambats.track.metrics import HOTA, PlainRule
from mambats.track.recipe import read_recipe
from mambats.track.telling import Mode
from mambats_datasets.synthetic.robot import SimulatedRobots
from mambats_datasets.synthetic.world.objects import detected_objects, true_objects
from mambats_datasets.synthetic.world.pose import sensor_pose, yaw_of
from mambats_datasets.synthetic.world.street import StreetWorlds

SCORES = ScoreCalibration(6.0, -2.0)  # of a street's detector, whose scores are 0 to 1
STATED = {"car": 14.0, "pedestrian": 10.0, "cyclist": 12.0}  # m/s that a new track may seem to have from a moving car
SETTLED = 20  # frames after which errors are told once more: at first nothing is known of the speed


class Drive(NamedTuple):
    """A drive with its truth."""

    truth: Objects
    found: Objects
    poses: Tensor


def streets(count: int, seed: int) -> list[Drive]:
    """Return drives of a car through streets, a fifth of whose cars are parked."""
    world = StreetWorlds(SimulatedRobots("car", series=1, duration=10.0), sensors=("detections",))
    made = world.batch(count, torch.Generator().manual_seed(seed))
    time = made.ticks["detections"].time
    pose = sensor_pose(made.ego(time), world.detector.mount)
    poses = torch.cat([pose.position, yaw_of(pose.rotation)[..., None]], -1)
    assert made.targets is not None and made.detections is not None
    drives = list[Drive]()
    for row in range(count):
        stamps = (time[row] * 1e9).round().long()
        truth, found = true_objects(stamps, made.targets, row), detected_objects(stamps, made.detections, row)
        drives.append(Drive(truth, found, poses[row]))
    return drives


def steps_of(poses: Tensor) -> Tensor:
    """Return steps ahead, aside (m) and turns (rad) between poses (F, 4), shape (F - 1, 3)."""
    turn = torch.remainder(poses[1:, 3] - poses[:-1, 3] + math.pi, 2 * math.pi) - math.pi
    away, at = poses[1:, :2] - poses[:-1, :2], poses[:-1, 3] + turn / 2
    x, y = away.unbind(-1)
    return torch.stack([at.cos() * x + at.sin() * y, at.cos() * y - at.sin() * x, turn], -1)


def told(found: Objects) -> EgoPath:
    """Return the way that all classes of a street tell."""
    return estimate_path([(found.of_class(name), ToldNoise(1.0, SCORES)) for name in CLASSES])


def table_of_streets(count: int, seed: int) -> None:
    """Print errors of steps, drift, and HOTA with no motion, the told one and the true one."""
    drives = streets(count, seed)
    paths = [told(one.found) for one in drives]
    away = [steps_of(path.poses) - steps_of(one.poses) for path, one in zip(paths, drives, strict=True)]
    moved = torch.cat([steps_of(one.poses) for one in drives])
    rows = {"true step": moved, "error": torch.cat(away), "error after 2 s": torch.cat([a[SETTLED:] for a in away])}
    print("| | rms ahead [m], aside [m], turn [rad] | median |")
    for name, part in rows.items():
        rms, middle = part.square().mean(0).sqrt(), part.abs().median(0).values
        print(f"| {name} | {', '.join(f'{v:.4f}' for v in rms)} | {', '.join(f'{v:.4f}' for v in middle)} |")
    squares = torch.cat([
        (a * torch.linalg.solve(path.spread[1:], a[..., None])[..., 0]).sum(-1) / 3
        for a, path in zip(away, paths, strict=True)
    ])  # fmt: skip
    length = sum(float(steps_of(one.poses)[:, :2].norm(dim=-1).sum()) for one in drives)
    drift = sum(abs(float(a[:, 0].sum())) for a in away) / length
    turned = torch.tensor([float(a[:, 2].sum()) for a in away]).abs().mean()
    support = torch.cat([path.support[1:] for path in paths])
    print(
        f"NEES/3: mean {squares.mean():.2f}, median {squares.median():.2f} (0.79); standing bodies {support.mean():.1f}"
    )
    print(f"drift {drift:.1%} of the way, {turned:.3f} rad a drive of 10 s")
    for name in CLASSES:
        for word in ("none", "estimated", "poses"):
            hota, nis = HOTA(PlainRule(name, "centre")), list[Tensor]()
            for one, path in zip(drives, paths, strict=True):
                run = follow(name, one, path, word)
                hota.update(one.truth.of_class(name), tell(run, one.found.of_class(name)))
                nis.append(run.consistency().nis)
            print(f"{name}, ego {word}: HOTA {hota.compute()['HOTA']:.3f}, NIS/7 {torch.cat(nis).mean() / 7:.2f}")


def follow(name: str, one: Drive, path: EgoPath, word: str) -> History:
    """Track one class of a drive with no motion, the told one or the true one."""
    tracker, poses = tracker_of(name, SCORES, ACCELERATION[name]), None
    if word == "none":  # what stands seems to come at the sensor's speed
        made = type(tracker.initiator)([STATED[name]] * 2 + [0.1], least=tracker.initiator.least)
        tracker.initiator = made
    if word == "estimated":
        tracker, poses = path.doubted(tracker), path.poses
    return tracker.run(one.found.of_class(name), one.poses if word == "poses" else poses)


def path_of(root: Path, name: str, fits: Path | None) -> EgoPath:
    """Return the way that the detections of all classes of a sequence tell."""
    there = {kind: read(root, kind, name).detections for kind in KINDS
             if (root / "det3d_pointrcnn" / kind / f"{name}.txt").is_file()}  # fmt: skip
    frames = max(len(one) for one in there.values())
    return estimate_path([
        (lasting(one, frames, name), fitted(read_recipe(recipe_of(kind)).tracker, kind, name, fits).detector)
        for kind, one in there.items()
    ])  # fmt: skip


def recipe_of(kind: str) -> Path:
    """Return the recipe of a class."""
    return Path(__file__).parent / "track" / f"kitti_{kind.lower()}.yaml"


def table_of_kitti(root: Path, kinds: list[str], fits: Path | None, camera: bool) -> None:
    """Print scores of the ten sequences with and without the told motion, with the recipe's thresholds."""
    names = sorted(path.stem for path in (root / "label_02").glob("*.txt"))
    paths = {name: path_of(root, name, fits) for name in names}
    for kind in kinds:
        recipe = read_recipe(recipe_of(kind))
        sequences = [read(root, kind, name) for name in names]
        sequences = [drawn(one, silhouette(recipe.silhouette, kind, one.name, fits)) for one in sequences]
        joins = recipe.camera if camera else None
        if joins is not None:
            sequences = [joined(root, kind, one, weighed(joins, kind, one.name, fits)) for one in sequences]
        for word in ("none", "estimated"):
            runs = [went(kind, one, paths[one.name] if word == "estimated" else None, fits) for one in sequences]
            shown = f"{kind}, {'LiDAR' if joins is None else 'LiDAR + camera'}, ego {word}"
            for mode in ("online", "fixed-lag"):
                print(f"{shown}, {line_of(kind, sequences, runs, mode)}", flush=True)


def went(kind: str, one: Sequence, path: EgoPath | None, fits: Path | None) -> History:
    """Track a sequence from where a path says that the sensor was; None: from its seat."""
    recipe = read_recipe(recipe_of(kind))
    tracker, poses = fitted(recipe.tracker, kind, one.name, fits, chosen=False), None
    if path is not None:
        path = path.first(len(one.detections))
        tracker, poses = path.doubted(tracker), path.poses
    if one.added is None or recipe.camera is None:
        return tracker.run(one.detections, poses)
    evidence = weighed(recipe.camera, kind, one.name, fits)
    return run_pictured(tracker, evidence, one.detections, one.picture, poses=poses, added=one.added)


def line_of(kind: str, sequences: list[Sequence], runs: list[History], mode: Mode) -> str:
    """Return the scores of some runs in words."""
    tracks = [tell(run, one.detections, mode) for run, one in zip(runs, sequences, strict=True)]
    flat, solid = scores(kind, sequences, tracks), scores(kind, sequences, tracks, 0.25)
    nis = torch.cat([run.consistency().nis for run in runs]).mean() / 7
    shown = ", ".join(f"{key} {100 * flat[key]:.2f}" for key in ("HOTA", "DetA", "AssA", "MOTA", "IDF1"))
    label = "fixed-lag (2 s)" if mode == "fixed-lag" else mode
    return f"{label}: {shown}, switches {flat['IDSW']:.0f}, in space {solid['IDSW']:.0f}, NIS/7 {nis:.2f}"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("streets", "kitti"))
    parser.add_argument("root", type=Path, nargs="?")
    parser.add_argument("--drives", type=int, default=20)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--class", dest="kinds", action="append", choices=KINDS)
    parser.add_argument("--fits", type=Path)
    parser.add_argument("--camera", action="store_true", help="RRC's boxes in the picture too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.command == "streets":
        table_of_streets(given.drives, given.seed)
    else:
        table_of_kitti(given.root, given.kinds or list(KINDS), given.fits, given.camera)


if __name__ == "__main__":
    main()
