"""Satellite outages on a real drive: strapdown, constant noise and learned noise in one table.

    python recipes/ins_table.py --out results/ins_kitti [--seeds 0 1 2] [--steps 40]

The drive is GTSAM's KITTI drive (MAMBATS_DATA). The first half trains, the second half tests: an outage of 10, 30 and
60 s behind every fix, so windows overlap. All rows are online: nothing behind the moment is used (readings of the
inertial unit are put to the middle of what they hold, 5 ms). Every filter sees all fixes up to an outage.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path

import torch

from mambats.encoders import CausalEncoder
from mambats.estimators import ConstantNoise, Gate, InertialFilter, LearnedNoise, RandomWalk, Start
from mambats.odometry.ins.drive import Drive
from mambats.odometry.ins.fit import fit, loss
from mambats.odometry.ins.outage import began, follow, outages, windows
from mambats.results import Row, table, write_results
from mambats_datasets import GtsamINS

LENGTHS = (10, 30, 60)
SPLIT = 240  # number of the first fix of the test part
WARM = 30  # fixes in the training part before the first window
ROLLING = 500_000_000  # ns
FIX = 0.1  # m: what a fix is scored with


def navigator() -> InertialFilter:
    """A filter with noises that allow for vibration (50 times the densities that the file names), before tuning."""
    noise = {
        "imu": RandomWalk([1e-3, 5e-2, 3e-6, 2e-4]),
        "gnss": ConstantNoise([0.1, 0.1, 0.1]),
        "rolling": ConstantNoise([0.3, 0.3]),
    }
    start = Start(tilt=0.02, heading=0.05, velocity=0.5, position=0.5, gyro_bias=1e-3, accelerometer_bias=0.1)
    return InertialFilter(noise, gravity=9.81, start=start, gate=Gate(1 - 1e-6, patience=2)).double()


def score(name, model, drive, states, rolling, seed) -> list[Row]:
    """Rows of one model: root mean square of the error at the end of an outage, its median, and consistency."""
    rows = []
    for seconds in LENGTHS:
        with torch.no_grad():
            which = windows(drive, SPLIT, len(drive.fixes) - 1, seconds)
            made = outages(model, drive, states, which, seconds, rolling)
        error = made.error.norm(dim=-1)
        flat = made.error[:, :2].norm(dim=-1)
        found = {
            "position_rmse_m": error.square().mean().sqrt(),
            "horizontal_rmse_m": flat.square().mean().sqrt(),
            "position_median_m": error.median(),
            "position_p95_m": error.quantile(0.95),
            "nees_per_dimension": made.nees(FIX).mean(),
            "nees_median": made.nees(FIX).median(),
        }
        rows += [
            Row(name, "gtsam_ins", "test", 0, seconds, metric, float(value), len(which), seed, "online")
            for metric, value in found.items()
        ]
        print(f"{name:28s} {seconds:3d} s", {k: round(float(v), 2) for k, v in found.items()}, len(which), flush=True)
    return rows


def strapdown(states, drive, model):
    """The same states without what was learned of the biases."""
    return [state._replace(bias=torch.zeros_like(state.bias)) for state in states]


def learned_noise(model: InertialFilter, seed: int, no_mixer: bool = False) -> LearnedNoise:
    """An encoder on top of a copy of a tuned filter."""
    torch.manual_seed(seed)
    encoder = CausalEncoder(LearnedNoise.channels_for(model), width=16, layers=1, no_mixer=no_mixer)
    return LearnedNoise(copy.deepcopy(model), encoder, period=0.5).double().to(model.delay.device)


def main() -> None:
    """Read options and the drive."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=Path("results/ins_kitti"))
    options.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    options.add_argument("--steps", type=int, default=40)
    options.add_argument("--batch", type=int, default=12)
    compare(Drive.of(GtsamINS().recordings()[0]), options.parse_args())


def compare(drive: Drive, given: argparse.Namespace) -> None:
    """Fit on the first half, score on the second; on the device of the drive."""
    last = len(drive.fixes) - 1
    model, rows, begin = navigator().to(drive.fixes.device), list[Row](), time.time()
    starts = torch.arange(WARM, SPLIT - 50, device=drive.fixes.device)
    with torch.no_grad():
        states = follow(model, drive, began(model, drive), ROLLING, last)
    print(f"followed in {time.time() - begin:.0f} s", flush=True)
    rows += score("strapdown", model, drive, strapdown(states, drive, model), None, None)
    rows += score("filter, by hand", model, drive, states, ROLLING, None)

    def cost(one, numbers, at):
        return loss(one, drive, at, numbers, ROLLING, FIX)

    course = fit(
        list(model.noises.parameters()), lambda k: cost(model, k, states), starts, given.steps, 0.1, given.batch, 0
    )
    print(f"constant fitted in {time.time() - begin:.0f} s: {course[0]:.2f} -> {course[-1]:.2f}", flush=True)
    print({name: str(one) for name, one in model.noise.items()}, float(model.delay.detach()), flush=True)
    with torch.no_grad():
        states = follow(model, drive, began(model, drive), ROLLING, last)
    rows += score("filter, no constraint", model, drive, states, None, None)
    rows += score("filter, tuned", model, drive, states, ROLLING, None)
    write_results(given.out / "results.json", rows)
    for seed in given.seeds:
        for name, plain in (("learned noise", False), ("learned noise, no_mixer", True)):
            one = learned_noise(model, seed, plain)
            at = [one.started(state) for state in states]
            chosen = list(one.head.parameters()) + list(one.encoder.parameters())
            course = fit(chosen, lambda k, o=one, a=at: cost(o, k, a), starts, given.steps, 0.02, given.batch, seed)
            print(f"{name} {seed} in {time.time() - begin:.0f} s: {course[0]:.2f} -> {course[-1]:.2f}", flush=True)
            with torch.no_grad():
                mine = follow(one, drive, one.started(began(model, drive)), ROLLING, last)
            rows += score(name, one, drive, mine, ROLLING, seed)
            write_results(given.out / "results.json", rows)
    print(table(rows))
    if any(math.isnan(row.value) for row in rows):
        raise SystemExit("a score is not a number")


if __name__ == "__main__":
    main()
