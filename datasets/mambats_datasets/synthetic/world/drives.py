"""Drives through worlds in tensors, and one of them as the streams of a recording."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mambats.series import ImageStream, RaggedStream, Stamps
from mambats_datasets.synthetic.clock import Ticks, Timing
from mambats_datasets.synthetic.robot import START
from mambats_datasets.synthetic.trajectory import Trajectory
from mambats_datasets.synthetic.world import tables
from mambats_datasets.synthetic.world.camera import Camera, Picture
from mambats_datasets.synthetic.world.detections import Detections, Targets
from mambats_datasets.synthetic.world.detections_2d import Detections2D
from mambats_datasets.synthetic.world.landmarks import Sightings
from mambats_datasets.synthetic.world.lidar import Sweep
from mambats_datasets.synthetic.world.outline import Outlines
from mambats_datasets.synthetic.world.scene import Scene


@dataclass(frozen=True)
class Drives:
    """B drives through B worlds, in tensors on one device; what is not carried is None.

    Args:
        ego: Trajectories of `base_link` in `map`.
        scene: The worlds.
        ticks: Of lidar, camera and detections by name, each (B, T).
        sweep: What the LiDAR measured.
        picture: What the camera saw.
        outlines: Objects in the pictures. Truth.
        detections_2d: What the detector in the pictures says.
        targets: Objects around the detector. Truth.
        detections: What the detector says.
        landmarks: Their places, shape (B, L, 3), metres. Truth.
        sightings: Where the camera sees them.
    """

    ego: Trajectory
    scene: Scene
    ticks: dict[str, Ticks]
    sweep: Sweep | None = None
    picture: Picture | None = None
    outlines: Outlines | None = None
    detections_2d: Detections2D | None = None
    targets: Targets | None = None
    detections: Detections | None = None
    landmarks: Tensor | None = None
    sightings: Sightings | None = None


def ragged_of(drives: Drives, frames: Mapping[str, str]) -> dict[str, RaggedStream]:
    """Streams of tables of the first drive, without what its sensors lost; `frames` names that of each sensor."""
    made = dict[str, tuple[str, RaggedStream]]()
    stamps = {name: stamps_of(ticks) for name, ticks in drives.ticks.items()}
    if drives.sweep:
        made["lidar"] = "lidar", tables.sweeps(stamps["lidar"], drives.sweep)
        made["lidar_labels"] = "lidar", tables.hit_objects(stamps["lidar"], drives.sweep)
    if drives.outlines:
        made["labels_2d"] = "camera", tables.labels_2d(stamps["camera"], drives.outlines, drives.scene.kind)
    if drives.detections_2d:
        made["detections_2d"] = "camera", tables.detections_2d(stamps["camera"], drives.detections_2d)
        made["origins_2d"] = "camera", tables.origins(stamps["camera"], drives.detections_2d)
    if drives.targets and drives.detections:
        made["labels"] = "detections", tables.labels(stamps["detections"], drives.targets)
        made["detections"] = "detections", tables.detections(stamps["detections"], drives.detections)
        made["origins"] = "detections", tables.origins(stamps["detections"], drives.detections)
    if drives.sightings:
        made["landmarks"] = "landmarks", tables.sightings(stamps["landmarks"], drives.sightings)
    ragged = {
        name: tables.only(stream, drives.ticks[sensor].present[0], frames[sensor])
        for name, (sensor, stream) in made.items()
    }
    if drives.landmarks is not None:
        ragged["landmark_map"] = tables.landmark_map(stamps["landmarks"], drives.landmarks)
    return ragged


def images_of(drives: Drives, camera: Camera) -> dict[str, ImageStream]:
    """Pictures of the first drive that were not lost."""
    if drives.picture is None:
        return {}
    ticks = drives.ticks["camera"]
    kept = ticks.present[0].cpu().numpy()
    pictures = list(drives.picture.image[0].cpu().numpy()[kept])
    return {"camera": ImageStream(stamps_of(ticks)[kept], pictures, camera.mount.child, camera.intrinsics().numpy())}


def clock_facts(timings: Mapping[str, Timing]) -> dict[str, float]:
    """Errors of the sensors' clocks, as `SimulatedRobots` names them."""
    made = dict[str, float]()
    for name, timing in timings.items():
        made |= {f"{name}_offset": timing.offset, f"{name}_drift": timing.drift, f"{name}_latency": timing.latency}
    return made


def stamps_of(ticks: Ticks) -> Stamps:
    """What the first clock said, in nanoseconds since 1970."""
    return START + (ticks.stamp[0].cpu().numpy() * 1e9).round().astype(np.int64)
