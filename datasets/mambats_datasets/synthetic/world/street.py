"""Worlds to drive through: robots with LiDAR, camera and detector, and the truth of everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from mambats.formats.error import DataError
from mambats.series import FrameTree, Recording
from mambats_datasets.synthetic.clock import Ticks, Timing
from mambats_datasets.synthetic.robot import SimulatedRobots
from mambats_datasets.synthetic.trajectory import UPRIGHT, Trajectory, random_trajectory
from mambats_datasets.synthetic.world.camera import Camera
from mambats_datasets.synthetic.world.detections import Detector
from mambats_datasets.synthetic.world.detections_2d import PictureDetector
from mambats_datasets.synthetic.world.drives import Drives, clock_facts, images_of, ragged_of
from mambats_datasets.synthetic.world.landmarks import Landmarks
from mambats_datasets.synthetic.world.layout import Layout
from mambats_datasets.synthetic.world.lidar import Lidar
from mambats_datasets.synthetic.world.outline import outlines

SENSORS = ("lidar", "camera", "detections", "landmarks")


class StreetWorlds:
    """Drives along streets with houses, walls, poles, cars, pedestrians and cyclists, all sensors in one world.

    A recording has what `robots` carry (`imu`, `gnss`, ...) and, ragged, `lidar`, `detections`, `detections_2d` and
    `landmarks`, and the pictures `camera`. Truth among the ragged, never an input: `labels` (boxes, identities and
    velocities in the detector's frame), `labels_2d`, `lidar_labels` (what each point hit), `origins` and `origins_2d`
    (whose each detection is), `landmark_map`. The drives are those that `robots` make alone.

    Args:
        robots: Kind, number, length, seed and other sensors of the drives; of an upright kind. None is one car
            for 10 s with the sensors that robots have.
        layout: How full the worlds are.
        lidar: The LiDAR.
        camera: The camera.
        detector: The detector of boxes.
        picture_detector: The detector of rectangles in the camera's pictures.
        landmarks: The points that the camera follows.
        sensors: Which of lidar, camera, detections, landmarks to simulate; landmarks are seen by the camera.

    Raises:
        DataError: If a sensor is unknown, or the robots turn over, which puts sensors into the ground.
    """

    name = "street"

    def __init__(
        self,
        robots: SimulatedRobots | None = None,
        layout: Layout | None = None,
        lidar: Lidar | None = None,
        camera: Camera | None = None,
        detector: Detector | None = None,
        picture_detector: PictureDetector | None = None,
        landmarks: Landmarks | None = None,
        sensors: Sequence[str] = SENSORS,
    ) -> None:
        self.robots = robots or SimulatedRobots("car", series=1, duration=10.0)
        if self.robots.kind not in UPRIGHT:
            raise DataError(
                f"robots are of kind {self.robots.kind!r}, which turns over: choose of {', '.join(UPRIGHT)}."
            )
        if unknown := [sensor for sensor in sensors if sensor not in SENSORS]:
            raise DataError(f"sensors names {unknown}: choose of {', '.join(SENSORS)}.")
        self.layout, self.lidar, self.camera = layout or Layout(), lidar or Lidar(), camera or Camera()
        self.detector, self.picture_detector = detector or Detector(), picture_detector or PictureDetector()
        self.landmarks = landmarks or Landmarks()
        self.sensors = tuple(sensors)

    def batch(self, count: int, generator: torch.Generator) -> Drives:
        """Simulate `count` drives at once, on the generator's device: training data without end."""
        ego = random_trajectory(self.robots.kind, count, self.robots.duration, generator)
        drives = Drives(ego, self.layout.draw(generator, ego), {})
        if "lidar" in self.sensors:
            drives = self._scan(drives, generator)
        if "camera" in self.sensors:
            drives = self._film(drives, generator)
        if "detections" in self.sensors:
            drives = self._detect(drives, generator)
        return self._follow(drives, generator) if "landmarks" in self.sensors else drives

    def recordings(self) -> list[Recording]:
        """Return the drives, the same for the same arguments; a longer list begins with the shorter one."""
        return [self._recording(index, alone) for index, alone in enumerate(self.robots.recordings())]

    def _scan(self, drives: Drives, generator: torch.Generator) -> Drives:
        ticks = _ticks(self.lidar.timing, drives.ego, generator)
        sweep = self.lidar.sweep(drives.scene, drives.ego, ticks.time, generator)
        return replace(drives, ticks={**drives.ticks, "lidar": ticks}, sweep=sweep)

    def _film(self, drives: Drives, generator: torch.Generator) -> Drives:
        ticks = _ticks(self.camera.timing, drives.ego, generator)
        picture = self.camera.render(drives.scene, drives.ego, ticks.time, generator)
        pose = self.camera.pose(drives.ego, ticks.time)
        seen = outlines(drives.scene.moving(ticks.time), self.camera, pose, picture.object)
        found = self.picture_detector.detect(seen, drives.scene.kind[:, : drives.scene.count], self.camera, generator)
        ticks = {**drives.ticks, "camera": ticks}
        return replace(drives, ticks=ticks, picture=picture, outlines=seen, detections_2d=found)

    def _detect(self, drives: Drives, generator: torch.Generator) -> Drives:
        ticks = _ticks(self.detector.timing, drives.ego, generator)
        targets = self.detector.targets(drives.scene, drives.ego, ticks.time)
        found = self.detector.detect(targets, generator)
        return replace(drives, ticks={**drives.ticks, "detections": ticks}, targets=targets, detections=found)

    def _follow(self, drives: Drives, generator: torch.Generator) -> Drives:
        """Landmarks in the camera's pictures, whether or not these are rendered."""
        ticks = drives.ticks.get("camera") or _ticks(self.camera.timing, drives.ego, generator)
        points = self.landmarks.draw(drives.scene, generator)
        seen = self.landmarks.observe(points, self.camera, drives.scene, drives.ego, ticks.time, generator)
        return replace(drives, ticks={**drives.ticks, "landmarks": ticks}, landmarks=points, sightings=seen)

    def _recording(self, index: int, alone: Recording) -> Recording:
        key = int(np.random.SeedSequence([self.robots.seed, index]).generate_state(1, np.uint64)[0])
        drives = self.batch(1, torch.Generator().manual_seed(key))
        clocks = {"lidar": self.lidar, "camera": self.camera, "detections": self.detector}
        used = {name: clocks["camera" if name == "landmarks" else name] for name in self.sensors}
        edges = dict.fromkeys([*alone.frames.edges, *(sensor.mount for sensor in used.values())])
        return replace(
            alone,
            name=f"street_{alone.name}",
            static={**alone.static, **clock_facts({name: sensor.timing for name, sensor in used.items()})},
            ragged=ragged_of(drives, {name: sensor.mount.child for name, sensor in used.items()}),
            images=images_of(drives, self.camera),
            frames=FrameTree(tuple(edges)),
        )


def _ticks(timing: Timing, ego: Trajectory, generator: torch.Generator) -> Ticks:
    return timing.ticks(ego.batch, ego.duration, generator)
