"""How fast the inertial filter goes over many simulated drives at once.

    python datasets/bench_inertial.py [--robots 64] [--seconds 60] [--device cpu] [--dtype float64]

Inertial unit at 200 Hz, wheels at 50 Hz averaged to 10 Hz, fixes at 5 Hz; a state of 20 numbers. The simulation is not
timed. On a CPU, one thread, and its own time (a busy machine disturbs it less than the clock).
"""

from __future__ import annotations

import argparse
import json
import time

import torch

from mambats.estimators import ConstantNoise, InertialFilter, RandomWalk, Start
from mambats.series import SensorRows
from mambats_datasets.synthetic.robot import SimulatedRobots


def navigator() -> InertialFilter:
    """A filter with all states."""
    noise = {
        "imu": RandomWalk([1.7e-4, 2e-3, 2e-5, 3e-3]),
        "gnss": ConstantNoise([0.5, 0.5, 1.0]),
        "wheel": ConstantNoise([0.02, 0.01]),
        "scale": ConstantNoise([0.01, 0.01]),
        "wander": ConstantNoise([1.5, 1.5, 3.0]),
    }
    return InertialFilter(noise, latency=0.1, wheel_period=0.1)


def main() -> None:
    """Simulate, run, print one line of JSON."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--robots", type=int, default=64)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--device", default="cpu")
    options.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    given = options.parse_args()
    torch.set_num_threads(1)
    dtype, length = getattr(torch, given.dtype), int(given.seconds * 1e9)
    drive = SimulatedRobots(duration=given.seconds).batch(given.robots, torch.Generator(given.device).manual_seed(0))
    rows = dict[str, SensorRows]()
    for name, reading in drive.readings.items():
        stamps = (reading.ticks.stamp * 1e9).round().long()
        mask = reading.ticks.present & (stamps <= length)
        values = torch.where(mask[..., None], reading.values, 0.0).to(dtype)
        rows[name] = SensorRows(values, mask, torch.ones_like(values[..., 0]), torch.where(mask, stamps, 0))
    model = navigator().to(given.device, dtype)
    motion = drive.motion
    parts = (part[:, 0].to(dtype) for part in (motion.quaternion, motion.velocity, motion.position))
    start = model.aligned(*parts, Start(0.02, 0.05, 0.1, 1.0, 0.01, 0.2))
    took, tick = [], time.process_time if given.device == "cpu" else time.perf_counter
    with torch.no_grad():
        for _ in range(3):
            begin = tick()
            track, _ = model.run(rows, length, start)
            error = (track.position - drive.trajectory(track.stamps.double() * 1e-9).position).square().sum(-1)
            rmse = float(error.mean().sqrt())  # waits for the device
            took.append(tick() - begin)
    print(
        json.dumps({
            "robots": given.robots, "seconds": given.seconds, "device": given.device, "dtype": given.dtype,
            "moments": track.stamps.shape[1], "run_s": round(min(took), 3), "first_run_s": round(took[0], 3),
            "drive_seconds_per_s": round(given.robots * given.seconds / min(took)), "position_rmse_m": round(rmse, 3),
        })
    )  # fmt: skip


if __name__ == "__main__":
    main()
