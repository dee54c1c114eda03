"""How fast is preprocessing? One thread, whole arrays and row by row.

    OMP_NUM_THREADS=1 python datasets/bench_preprocess.py [--rows 1000000] [--repeats 5] [--only signal lidar image]

Signals have 6 channels in float64. `batch` is rows a second of `filter(values)`; `stream` is steps a second of
`filter.step`, one row of 6 channels each; `scipy` is the same filter by scipy's own function over the whole array where
it has one. LiDAR runs on a made sweep of 120,000 points (a plane, walls, noise; float32), as many as a 64-beam sensor
gives. Medians of the repeats, by the processor's time of this process, which a busy machine disturbs less than the
clock.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

CHANNELS, RATE = 6, 200.0


def seconds(work: Callable[[], object], repeats: int) -> float:
    work()
    found = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return float(np.median(found))


def signals() -> dict[str, tuple[Any, Callable[[np.ndarray], object] | None]]:
    from scipy import ndimage
    from scipy import signal as peer

    from mambats.preprocess import (
        BandFilter,
        Derivative,
        Exponential,
        Hampel,
        MoveImu,
        MovingAverage,
        Notch,
        RangeGate,
        RateGate,
        RunningMedian,
        SavitzkyGolay,
        Stuck,
        ZeroPhase,
    )

    low = BandFilter(20.0, RATE, order=4)
    sections = low.sections.coefficients
    notch = Notch(50.0, RATE)
    return {
        "Butterworth, order 4": (low, lambda x: peer.sosfilt(sections, x, axis=0)),
        "Notch": (notch, lambda x: peer.sosfilt(notch.sections.coefficients, x, axis=0)),
        "ZeroPhase of the first": (ZeroPhase(low), lambda x: peer.sosfiltfilt(sections, x, axis=0)),
        "MovingAverage, 21 rows": (MovingAverage(21), lambda x: ndimage.uniform_filter1d(x, 21, axis=0)),
        "RunningMedian, 5 rows": (RunningMedian(5), lambda x: ndimage.median_filter(x, (5, 1))),
        "RunningMedian, 21 rows": (RunningMedian(21), lambda x: ndimage.median_filter(x, (21, 1))),
        "SavitzkyGolay, 11 rows": (SavitzkyGolay(11, 2), lambda x: peer.savgol_filter(x, 11, 2, axis=0)),
        "Exponential": (Exponential(0.1, RATE), None),
        "Derivative": (Derivative(RATE), None),
        "Hampel, 11 rows": (Hampel(11), None),
        "RangeGate": (RangeGate(-3.0, 3.0), None),
        "RateGate": (RateGate(1500.0, RATE), None),
        "Stuck, 5 rows": (Stuck(5), None),
        "MoveImu": (MoveImu(np.eye(4) + np.eye(4, k=3), RATE), None),
    }


def bench_signals(rows: int, repeats: int) -> None:
    values = np.random.default_rng(0).standard_normal((rows, CHANNELS))
    print(f"\n{rows:,} rows of {CHANNELS} channels, float64\n")
    print("| filter | batch, rows/s | scipy, rows/s | stream, steps/s |")
    print("|---|---|---|---|")
    for name, (filter, peer) in signals().items():
        batch = rows / seconds(partial(filter, values), repeats)
        other = f"{rows / seconds(partial(peer, values), repeats):,.0f}" if peer else "-"
        streams = f"{steps(filter, values[:2000], repeats):,.0f}" if hasattr(filter, "flush") else "offline only"
        print(f"| {name} | {batch:,.0f} | {other} | {streams} |", flush=True)


def steps(filter: Any, values: np.ndarray, repeats: int) -> float:
    def walk() -> None:
        state = filter.start(CHANNELS)
        for row in values:
            _, state = filter.step(row, state)

    return len(values) / seconds(walk, repeats)


def sweep(count: int = 120_000) -> np.ndarray:
    rng = np.random.default_rng(0)
    angle = np.sort(rng.uniform(-np.pi, np.pi, count))
    beam = rng.integers(0, 64, count)
    down = np.radians(3 - beam * 28 / 64)
    reach = np.minimum(
        np.where(down < -0.01, 1.73 / np.sin(np.maximum(-down, 1e-3)), 80.0), 20 + 30 * rng.random(count)
    )
    reach += 0.02 * rng.standard_normal(count)
    points = reach * np.stack([np.cos(down) * np.cos(angle), np.cos(down) * np.sin(angle), np.sin(down)])
    return np.ascontiguousarray(np.r_[points, rng.random((1, count))].T, dtype=np.float32)


def track() -> Any:
    from mambats.preprocess import PoseTrack
    from mambats.preprocess.transform import exp_se3, to_poses
    from mambats.series import Stream

    times = np.arange(0, 0.21, 0.01)
    poses = to_poses(exp_se3(times[:, None] * np.array([0.01, 0.02, 0.5, 10, 0, 0.1])))
    names = ("px", "py", "pz", "qx", "qy", "qz", "qw")
    return PoseTrack(Stream((times * 1e9).round().astype(np.int64), poses, names))


def unique_means(points: np.ndarray) -> np.ndarray:
    """The voxel mean that one writes in numpy."""
    cells, inverse, counts = np.unique(np.floor(points[:, :3] / 0.2), axis=0, return_inverse=True, return_counts=True)
    return np.stack([np.bincount(inverse, column, len(cells)) for column in points.T], 1) / counts[:, None]


def bench_lidar(repeats: int) -> None:
    from mambats.preprocess import Deskew, GroundRemoval, RangeImage, RansacPlane, VoxelGrid

    points, poses = sweep(), track()
    places, times = np.ascontiguousarray(points[:, :3]), np.linspace(0, 0.1, len(points))
    exact, twist = places.astype(np.float64), np.array([0.01, 0.02, 0.5, 10, 0, 0.1])
    picture = RangeImage()
    ranges = picture(points).ranges
    work: dict[str, Callable[[], object]] = {
        "Deskew, constant twist, float32": lambda: Deskew(0.1).steady(places, times, twist),
        "Deskew, constant twist, float64": lambda: Deskew(0.1).steady(exact, times, twist),
        "Deskew, poses at 100 Hz, float64": lambda: Deskew(0.1).along(exact, times, 0, poses),
        "VoxelGrid, 0.2 m, mean": lambda: VoxelGrid(0.2)(points),
        "VoxelGrid, 0.2 m, first": lambda: VoxelGrid(0.2, "first")(points),
        "the same mean by numpy.unique": lambda: unique_means(points),
        "RangeImage, 64 x 2048": lambda: picture(points),
        "RangeImage, back to points": lambda: picture.inverse(ranges),
        "RansacPlane, 100 trials": lambda: RansacPlane(0.1, up=(0.0, 0.0, 1.0))(places),
        "GroundRemoval": lambda: GroundRemoval(1.73)(points),
    }
    print(f"\nOne sweep of {len(points):,} points\n\n| work | ms | sweeps/s | points/s |\n|---|---|---|---|")
    for name, one in work.items():
        took = seconds(one, repeats)
        print(f"| {name} | {1000 * took:.2f} | {1 / took:,.0f} | {len(points) / took:,.0f} |", flush=True)


def bench_images(repeats: int) -> None:
    from mambats.preprocess import Normalise, Resize, Undistort

    image = np.random.default_rng(0).integers(0, 256, (480, 752, 3), dtype=np.uint8)
    matrix = np.array([[458.654, 0, 367.215], [0, 457.296, 248.375], [0, 0, 1.0]])
    lens = Undistort(matrix, (-0.28340811, 0.07395907, 0.00019359, 1.76187114e-05))
    halved, plain = Resize(240, 376), Normalise()
    work: dict[str, Callable[[], object]] = {
        "Resize to half": lambda: halved(image),
        "Undistort": lambda: lens(image),
        "Normalise": lambda: plain(image),
    }
    try:
        from PIL import Image

        work["Pillow's resize to half"] = lambda: Image.fromarray(image).resize((376, 240), Image.Resampling.BILINEAR)
    except ModuleNotFoundError:
        print("\nPillow is not installed: its row is left out")
    print("\nOne picture, 480 x 752 RGB uint8\n\n| work | ms | pictures/s |\n|---|---|---|")
    for name, one in work.items():
        took = seconds(one, repeats)
        print(f"| {name} | {1000 * took:.2f} | {1 / took:,.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure preprocessing.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=["signal", "lidar", "image"], default=["signal", "lidar", "image"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"one thread, load {os.getloadavg()[0]:.1f}, numpy {np.__version__}, torch {torch.__version__}")
    if "signal" in options.only:
        bench_signals(options.rows, options.repeats)
    if "lidar" in options.only:
        bench_lidar(options.repeats)
    if "image" in options.only:
        bench_images(options.repeats)


if __name__ == "__main__":
    main()
