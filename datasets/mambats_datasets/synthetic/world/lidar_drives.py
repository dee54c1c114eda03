"""LiDAR sweeps of simulated drives as one table: what a detector is trained on."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from mambats.formats.error import DataError
from mambats.track.centre.sweeps import SweepTable
from mambats_datasets.synthetic.trajectory import Trajectory, random_trajectory
from mambats_datasets.synthetic.world.camera import Camera
from mambats_datasets.synthetic.world.detections import Detector
from mambats_datasets.synthetic.world.kinds import CAR
from mambats_datasets.synthetic.world.layout import Layout
from mambats_datasets.synthetic.world.lidar import Lidar, Sweep
from mambats_datasets.synthetic.world.objects import CLASSES
from mambats_datasets.synthetic.world.pose import sensor_pose

AT_ONCE = {"cpu": 2, "cuda": 16}  # drives simulated at once
LEAST = 3  # returns of a sweep that make a body one that a detector may be asked for


class LidarDrives:
    """Drives of a car through `StreetWorlds`'s worlds, seen by its LiDAR; bodies of three returns or more are boxes.

    Points are undistorted with the true motion and, like boxes and pose, told in the sensor's frame at the middle of
    their sweep. What moves is smeared, as in a real sweep, by at most half a turn's time.

    Args:
        drives: How many.
        duration: Of each, seconds.
        seed: Key of all random numbers.
        layout: How full the worlds are.
        lidar: The LiDAR.
        cache: Folder to keep the table in, so that the same arguments read it the next time; None keeps nothing.
        device: Where to simulate.
        camera: Takes a picture at the middle of each sweep; None takes none.

    Raises:
        DataError: If there is no drive.
    """

    name = "lidar_drives"
    classes = CLASSES

    def __init__(
        self,
        drives: int = 64,
        duration: float = 3.0,
        seed: int = 0,
        layout: Layout | None = None,
        lidar: Lidar | None = None,
        cache: str | None = None,
        device: str = "cpu",
        camera: Camera | None = None,
    ) -> None:
        if drives < 1 or not duration > 0:
            raise DataError(f"drives are {drives}, duration {duration} s: both must be positive.")
        self.drives, self.duration, self.seed = drives, duration, seed
        self.layout, self.lidar, self.cache, self.device = layout, lidar, cache, device
        self.camera = camera

    def sweeps(self) -> SweepTable:
        """Return all sweeps on the CPU, simulated or from the cache."""
        if self.cache is None:
            return self._simulated()
        words = repr((self.drives, self.duration, self.seed, self.layout, self.lidar, self.device, self.camera))
        path = Path(self.cache) / f"lidar_drives_{sha256(words.encode()).hexdigest()[:16]}.npz"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(f".{os.getpid()}.npz")  # whole or not at all, also where several simulate at once
            self._simulated().save(part)
            part.replace(path)
        return SweepTable.load(path)

    def _simulated(self) -> SweepTable:
        step = AT_ONCE.get(torch.device(self.device).type, 16)
        parts = [self._some(first, min(step, self.drives - first)) for first in range(0, self.drives, step)]
        return SweepTable.joined(parts)

    def _some(self, first: int, count: int) -> SweepTable:
        """Simulate `count` drives, the first of which is number `first`."""
        generator = torch.Generator(self.device).manual_seed((self.seed << 20) + first)
        layout, lidar = self.layout or Layout(), self.lidar or Lidar(columns=360)
        ego = random_trajectory("car", count, self.duration, generator)
        scene = layout.draw(generator, ego)
        begins = lidar.timing.ticks(count, self.duration, generator).time
        sweep = lidar.sweep(scene, ego, begins, generator)
        middle = begins + 0.5 / lidar.timing.rate
        hits = _hits(sweep, scene.count)
        there = Detector(reach=lidar.reach, mount=lidar.mount).targets(scene, ego, middle, hits.double())
        kept = there.alive & (hits >= LEAST)
        kind = there.kind[:, None].expand_as(kept)
        pose = sensor_pose(ego(middle), lidar.mount)
        motion = torch.eye(4, dtype=torch.float64, device=begins.device).repeat(*begins.shape, 1, 1)
        motion[..., :3, :3], motion[..., :3, 3] = pose.rotation, pose.position
        number = (first + torch.arange(count, device=begins.device))[:, None].expand_as(begins)
        identity = torch.arange(scene.count, device=begins.device).expand_as(kept)
        parts = (
            _still(sweep, lidar, ego, begins, middle),
            motion,
            (middle * 1e9).round().long(),
            number,
            there.box.float(),
            there.velocity[..., :2].float(),
            torch.where(kept, kind - CAR, -1),
            identity,
        )
        if self.camera is not None:
            image = self.camera.render(scene, ego, middle, generator).image.movedim(-1, -3)
            parts += (
                image[:, :, None],
                _projection(self.camera, lidar).to(image.device).expand(*begins.shape, 1, 3, 4),
            )
        return SweepTable(*(part.flatten(0, 1).cpu() for part in parts))


def _projection(camera: Camera, lidar: Lidar) -> Tensor:
    """From the LiDAR's frame to the camera's pixels, (3, 4) float32: both sit on one body."""
    seen, own = torch.from_numpy(camera.mount.matrix), torch.from_numpy(lidar.mount.matrix)
    return (camera.intrinsics() @ (torch.linalg.inv(seen) @ own)[:3]).float()


def _hits(sweep: Sweep, count: int) -> Tensor:
    """How many returns each of `count` bodies gave, (B, T, M)."""
    met = torch.where(sweep.returned & (sweep.object >= 0) & (sweep.object < count), sweep.object, count)
    return torch.zeros((*met.shape[:2], count + 1), device=met.device).scatter_add_(
        2, met, torch.ones_like(met, dtype=torch.float32)
    )[..., :count]


def _still(sweep: Sweep, lidar: Lidar, ego: Trajectory, begins: Tensor, middle: Tensor) -> Tensor:
    """Points (B, T, R, 4) as if measured at the middle of their sweep; NaN where nothing came back."""
    times = lidar.times(begins.device)
    then = sensor_pose(ego((begins[..., None] + times).flatten(1)), lidar.mount)
    now = sensor_pose(ego(middle), lidar.mount)
    columns = sweep.points.unflatten(2, (len(times), lidar.rings)).double()  # (B, T, columns, rings, 3)
    shape = columns.shape[:3]
    place = then.out(columns.flatten(1, 2)).view(columns.shape)
    seen = now.into(place.flatten(2, 3)).view(*shape[:2], -1, 3)
    points = torch.cat([seen.float(), sweep.intensity[..., None].float()], -1)
    return points.masked_fill(~sweep.returned[..., None], torch.nan)
