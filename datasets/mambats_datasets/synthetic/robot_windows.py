"""Training windows without end: simulated drives as batches of sensor rows, on any device, no file and no table."""

from __future__ import annotations

import torch
from torch import Tensor

from mambats.series import SensorRows, SensorWindow
from mambats_datasets.synthetic.reading import Reading
from mambats_datasets.synthetic.robot import Simulated, SimulatedRobots

PERIOD_NS = 10_000_000


def robot_windows(robots: SimulatedRobots, count: int, generator: torch.Generator) -> SensorWindow:
    """Simulate `count` drives, each one window from its start to its end.

    Args:
        robots: What drives, with which sensors.
        count: Drives, B.
        generator: Source of all randomness; its device is where the batch lives.

    Returns:
        A batch as `mambats.data.SensorWindows` cuts it from recordings: streams float32, truth `pose` and `velocity`.
    """
    drive = robots.batch(count, generator)
    length_ns = round(robots.duration * 1e9)
    device = generator.device
    return SensorWindow(
        {name: _rows(reading, length_ns) for name, reading in drive.readings.items()},
        torch.zeros(count, dtype=torch.int64, device=device),
        length_ns,
        torch.arange(count, device=device),
        _truth(drive),
    )


def _rows(reading: Reading, length_ns: int) -> SensorRows:
    stamps = (reading.ticks.stamp * 1e9).round().long()
    mask = reading.ticks.present & (stamps >= 0) & (stamps <= length_ns)
    return _dense(reading.values, mask, stamps)


def _truth(drive: Simulated) -> dict[str, SensorRows]:
    stamps = (drive.time * 1e9).round().long()
    pose = torch.cat([drive.motion.position, drive.motion.quaternion], -1)
    return {
        "pose": _dense(pose, torch.ones_like(stamps, dtype=torch.bool), stamps),
        "velocity": _dense(drive.motion.velocity, torch.ones_like(stamps, dtype=torch.bool), stamps),
    }


def _dense(values: Tensor, mask: Tensor, stamps: Tensor) -> SensorRows:
    """Rows that were measured, in their order, padded behind."""
    order = (~mask).int().argsort(dim=1, stable=True)
    mask, stamps = mask.gather(1, order), stamps.gather(1, order) * mask.gather(1, order)
    gaps = torch.ones_like(stamps, dtype=torch.float32)
    gaps[:, 1:] = stamps.diff(dim=1) / PERIOD_NS
    values = values.gather(1, order[..., None].expand(values.shape)).float() * mask[..., None]
    return SensorRows(values, mask, gaps * mask, stamps)
