"""`mambats track`: KITTI's detections in, KITTI's tracks out, a sequence a file."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from mambats.command.door import UsageError
from mambats.command.setup import settle_threads

if TYPE_CHECKING:
    from mambats.track.job import Sources, Tracked


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"track: {message}. See {self.prog} --help.")


def run(words: list[str], command: str) -> int:
    """Run `track`: follow the bodies of every sequence, write their tracks when all of them are known."""
    given = _parser().parse_args(words)
    settle_threads()
    import torch

    torch.set_num_threads(1)  # dozens of tracks: threads that wait for each other cost more than they bring
    from mambats.track.job import Job
    from mambats.track.recipe import read_recipes

    sources = _sources(given)
    recipes = [one for path in given.config for one in read_recipes(path, given.checkpoint)]
    job = Job(recipes, sources, given.mode, given.lag, given.pixels, given.all_tracks, given.ego)
    names, began = given.sequences.split(",") if given.sequences else sources.sequences(recipes), time.monotonic()
    _check_shown(names, given)
    made = [job.track(name) for name in names]  # all of it before anything is written: a fault leaves nothing behind
    for one in made:
        print(f"{one.write(given.output)}: {one.count} tracks in {one.frames} frames")
    _show(made, given)
    frames = sum(one.frames for one in made)
    print(
        f"mode: {job.label}; {frames} frames, {frames / max(sum(o.seconds for o in made), 1e-9):,.0f} a second in the"
    )
    print(f"tracker, {time.monotonic() - began:.1f} s in all")
    return 0


def _sources(given: argparse.Namespace) -> Sources:
    """Return the files of detections, or of sweeps and the detector that finds bodies in them."""
    if (given.detections is None) == (given.detector is None):
        raise UsageError("track: give --detections, or --sweeps and the --detector that finds bodies in them.")
    if given.rerun is None and given.detector is None and (given.sweeps or given.images):
        raise UsageError("track: --sweeps and --images are shown in a recording, or read by a detector: give --rerun "
                         "or --detector, too.")  # fmt: skip
    if given.detector is None:
        from mambats.track.job import Sources

        return Sources(given.detections, given.calibration, given.camera, given.poses)
    if given.sweeps is None or given.camera is not None:
        raise UsageError("track: --detector finds bodies in --sweeps (and --images), and joins no --camera's boxes.")
    from mambats.track.centre.files import SweepSources, read_detector
    from mambats.track.centre.reading import read_reading

    reading, model = read_reading(given.config), read_detector(given.detector)
    poses = given.poses if given.ego in (None, "poses") else None
    return SweepSources(
        given.sweeps, given.calibration, poses=poses, model=model, reading=reading, images=given.images,
        estimated=given.ego == "estimated",
    )  # fmt: skip


def _check_shown(names: list[str], given: argparse.Namespace) -> None:
    """Refuse before anything is tracked what could not be shown afterwards."""
    if given.rerun is not None and given.rerun.suffix == ".rrd" and len(names) > 1:
        raise UsageError(f"track: {given.rerun} takes one sequence of {len(names)}: give a folder, or --sequences.")
    folders = [folder / name for folder in (given.sweeps, given.images) if folder is not None for name in names]
    if missing := [folder for folder in folders if not folder.is_dir()]:
        raise UsageError(f"track: {missing[0]} is no folder: give the one that holds a folder a sequence.")


def _show(made: list[Tracked], given: argparse.Namespace) -> None:
    """Draw pictures and write recordings of what was tracked, where they are asked for."""
    if given.pictures is not None:
        from mambats.track.pictures import draw_tracks

        for one in made:
            for path in draw_tracks(one.scene, given.pictures):
                print(f"{path}: a picture")
    if given.rerun is not None:
        from mambats.track.pictures.kitti_files import record_sequence

        for one in made:
            file = given.rerun if given.rerun.suffix == ".rrd" else given.rerun / f"{one.name}.rrd"
            record_sequence(one.scene, file, given.calibration, given.sweeps, given.images)
            print(f"{file}: a recording, see `rerun {file}`")


def _parser() -> argparse.ArgumentParser:
    parser = _Arguments(
        prog="mambats track", description="Follow bodies through detections or sweeps in KITTI's formats."
    )
    parser.add_argument("--detections", type=Path, help="folder of NNNN.txt, or of a folder a class (Car/NNNN.txt)")
    parser.add_argument("--calibration", type=Path, required=True, help="folder of NNNN.txt, one a sequence")
    parser.add_argument("--camera", type=Path, help="detections in the picture, a folder a class")
    parser.add_argument("--poses", type=Path, help="oxts, NNNN.txt a sequence: tracks then stand in the world")
    parser.add_argument(
        "--ego", choices=("poses", "estimated", "none"),
        help="where the sensor's motion comes from: --poses (default where given), or what stands still among the "
        "detections of all classes followed; default: none, unless a recipe has an `ego`",
    )  # fmt: skip
    parser.add_argument(
        "--config", type=Path, action="append", required=True, help="recipe of a class; several follow several classes"
    )
    parser.add_argument("--checkpoint", type=Path, help="learned noise, as `mambats fit` wrote it")
    parser.add_argument("--output", type=Path, required=True, help="folder that NNNN.txt are written to")
    parser.add_argument("--mode", choices=("online", "fixed-lag", "offline"), default="online")
    parser.add_argument("--lag", type=float, default=2.0, help="seconds that fixed-lag looks ahead (default 2)")
    parser.add_argument("--sequences", help="names with commas between; default: all that have detections")
    parser.add_argument(
        "--pixels", choices=("detection", "projection"), default="detection",
        help="box in the picture: the detection's own where there is one (default), or the projected one",
    )  # fmt: skip
    parser.add_argument(
        "--all-tracks", action="store_true",
        help="write doubtful tracks too: for figures over all recalls (sAMOTA), which choose by score themselves",
    )  # fmt: skip
    parser.add_argument("--pictures", type=Path, help="folder for pictures: from above, moving, time line, NIS")
    parser.add_argument("--rerun", type=Path, help="FILE.rrd of one sequence, or a folder: recordings for Rerun")
    parser.add_argument(
        "--detector", type=Path,
        help="in place of --detections: a centre head as `mambats fit` wrote it, which finds bodies in --sweeps",
    )  # fmt: skip
    words = "with --detector or --rerun: folder of NNNN/000000"
    parser.add_argument("--sweeps", type=Path, help=f"{words}.bin, KITTI's velodyne")
    parser.add_argument("--images", type=Path, help=f"{words}.png, KITTI's image_02")
    return parser
