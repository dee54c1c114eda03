"""From sweeps to what a tracker reads: what is found in whole drives, the truth in them, the sensor's poses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from mambats.track.centre.model import CentreDetector, Found, objects_of
from mambats.track.centre.sweeps import SweepTable
from mambats.track.objects import Objects, splits_of
from mambats.track.telling import Mode, tell
from mambats.track.tracker import Tracker

LEAST = 0.05  # score under which a box is not handed to a tracker


def find_in(
    model: CentreDetector,
    table: SweepTable,
    before: Sequence[int] = (0,),
    *,
    lidar: bool = True,
    camera: bool = True,
    share: float = 1.0,
    batch_size: int = 16,
) -> Found:
    """Return what a detector finds in all sweeps of a table, on the CPU.

    Args:
        model: On any device; the table is brought there batch by batch.
        table: Sweeps, with or without pictures.
        before: How many sweeps back to lay over each, as it was trained.
        lidar: Whether there are points; without, the detector sees pictures alone.
        camera: Whether there are pictures.
        share: Of the points that are kept, drawn at random, the same in each call.
        batch_size: Sweeps at a time.
    """
    device, made = next(model.parameters()).device, list[Found]()
    generator = torch.Generator(device).manual_seed(0)
    for rows in torch.arange(len(table)).split(batch_size):
        batch = table.batch(rows, before).to(device)
        if share < 1:
            batch = batch.thinned(torch.full((len(rows),), share, device=device), generator)
        off = torch.ones(len(rows), dtype=torch.bool, device=device)
        batch = batch.without(off & (not lidar), off & (not camera))
        found = model.find(batch.points, batch.images, batch.projection)
        made.append(Found(*(part.cpu() for part in found)))
    return Found(*(torch.cat(part) for part in zip(*made, strict=True)))


def detections_of(found: Found, drive: SweepTable, classes: tuple[str, ...], least: float = LEAST) -> Objects:
    """Return what was found in the sweeps of one drive as a tracker reads it: scores as log odds."""
    return scored_objects(found, drive.stamps, classes, least)


def scored_objects(found: Found, stamps: Tensor, classes: tuple[str, ...], least: float = LEAST) -> Objects:
    """Return what was found at stamps (B,) as `detections_of` does."""
    said = objects_of(found, stamps, classes, least)
    score = None if said.score is None else torch.logit(said.score, 1e-6)
    return replace(said, score=score)


def truth_of(drive: SweepTable, classes: tuple[str, ...]) -> Objects:
    """Return the boxes of one drive as labels."""
    known = drive.labels >= 0
    return Objects(
        drive.stamps, splits_of(known.sum(1).tolist()), drive.boxes[known].double(), drive.labels[known], classes,
        identity=drive.identity[known], velocity=F.pad(drive.velocity[known].double(), (0, 1)),
    )  # fmt: skip


def poses_of(drive: SweepTable) -> Tensor:
    """Return the poses of the sensor as `Tracker.run` reads them: x, y, z in metres and yaw in rad, shape (F, 4)."""
    pose = drive.pose
    return torch.cat([pose[:, :3, 3], torch.atan2(pose[:, 1, 0], pose[:, 0, 0])[:, None]], 1)


def track_drive(
    found: Found, drive: SweepTable, trackers: Mapping[str, Tracker], classes: tuple[str, ...], mode: Mode = "online"
) -> dict[str, Objects]:
    """Return the tracks of each class in one drive, as the sensor sees them.

    Args:
        found: In the drive's sweeps, see `find_in`.
        drive: With stamps and poses.
        trackers: One a class, by its name; their `detector` reads covariances from the boxes (`ToldNoise`).
        classes: Names of the labels of what was found.
        mode: What may be known of the future; `find_in` never knows any.

    Raises:
        ValueError: If the table holds more than one drive, or a tracker is for no class.
    """
    if len(drive.drive.unique()) > 1:
        raise ValueError(f"the table holds {len(drive.drive.unique())} drives: take one, `table.take(rows)`.")
    detections, poses = detections_of(found, drive, classes), poses_of(drive)
    own = {name: detections.of_class(name) for name in trackers}
    return {name: tell(trackers[name].run(some, poses), some, mode) for name, some in own.items()}
