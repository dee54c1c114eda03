"""`mambats track`: KITTI's detections in, KITTI's tracks out, a sequence a file."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NoReturn

from mambats.command.door import UsageError
from mambats.command.setup import settle_threads


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"track: {message}. See {self.prog} --help.")


def run(words: list[str], command: str) -> int:
    """Run `track`: follow the bodies of every sequence, write their tracks when all of them are known."""
    given = _parser().parse_args(words)
    settle_threads()
    import torch

    torch.set_num_threads(1)  # dozens of tracks: threads that wait for each other cost more than they bring
    from mambats.track.job import Job, Sources, read_recipe

    sources = Sources(given.detections, given.calibration, given.camera, given.poses)
    recipes = [read_recipe(path, given.checkpoint) for path in given.config]
    job = Job(recipes, sources, given.mode, given.lag, given.pixels)
    names, began = given.sequences.split(",") if given.sequences else sources.sequences(recipes), time.monotonic()
    made = [job.track(name) for name in names]  # all of it before anything is written: a fault leaves nothing behind
    for one in made:
        print(f"{one.write(given.output)}: {one.count} tracks in {one.frames} frames")
    frames = sum(one.frames for one in made)
    print(
        f"mode: {job.label}; {frames} frames, {frames / max(sum(o.seconds for o in made), 1e-9):,.0f} a second in the"
    )
    print(f"tracker, {time.monotonic() - began:.1f} s in all")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Arguments(prog="mambats track", description="Follow bodies through detections in KITTI's formats.")
    parser.add_argument(
        "--detections", type=Path, required=True, help="folder of NNNN.txt, or of a folder a class (Car/NNNN.txt)"
    )
    parser.add_argument("--calibration", type=Path, required=True, help="folder of NNNN.txt, one a sequence")
    parser.add_argument("--camera", type=Path, help="detections in the picture, a folder a class")
    parser.add_argument("--poses", type=Path, help="oxts, NNNN.txt a sequence: tracks then stand in the world")
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
    return parser
