"""How fast streams are brought together: the join, binning, windows in memory and out of core. One thread.

    POLARS_MAX_THREADS=1 OMP_NUM_THREADS=1 python datasets/bench_align.py           # seconds
    POLARS_MAX_THREADS=1 OMP_NUM_THREADS=1 python datasets/bench_align.py --large   # 36 M rows (10 h, 1 kHz) on disk

Times are the best of seven, memory is the process's peak above what it had before.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from mambats.data import SensorWindows, match, merge, resample
from mambats.formats.store import open_recording, save_recording
from mambats.series import RaggedStream, Recording, Stream

MS = 10**6


def peak():
    """The process's largest resident memory in KiB; not `ru_maxrss`, which a new program inherits from its parent."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def best(call, rounds=7):
    """Seconds of the fastest of some calls."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def drive(rows, rate, points=0):
    """An IMU at `rate` Hz, sweeps at 10 Hz, GNSS at 5 Hz."""
    random, step = np.random.default_rng(0), 10**9 // rate
    stamps = np.arange(rows, dtype=np.int64) * step
    sweeps = np.arange(stamps[0] + 7 * MS, stamps[-1], 100 * MS, dtype=np.int64)
    fixes = np.arange(stamps[0] + 3 * MS, stamps[-1], 200 * MS, dtype=np.int64)
    splits = np.arange(len(sweeps) + 1, dtype=np.int64) * points
    clouds = random.normal(size=(int(splits[-1]), 4)).astype(np.float32)
    return Recording(
        "drive",
        {
            "imu": Stream(stamps, random.standard_normal((rows, 6), np.float32), ("wx", "wy", "wz", "ax", "ay", "az")),
            "gnss": Stream(fixes, random.normal(size=(len(fixes), 3)), ("px", "py", "pz")),
        },
        ragged={"lidar": RaggedStream(sweeps, splits, clouds, ("x", "y", "z", "intensity"))},
    )


def epoch(windows, size=64):
    """Rows of all streams in all windows, gathered in batches."""
    rows = 0
    for first in range(0, len(windows), size):
        batch = windows.batch(range(first, min(first + size, len(windows))))
        rows += sum(int(stream.mask.sum()) for stream in batch.streams.values())
    return rows


def small():
    """The join, bins, order and windows of 1 M rows."""
    recording = drive(1_000_000, 1000)
    imu, lidar = recording.streams["imu"], recording.ragged["lidar"]
    print(f"{len(imu):,} rows, {len(lidar):,} sweeps")
    print(f"match each row to the last sweep  {1e3 * best(lambda: match(imu.stamps, lidar.stamps)):8.2f} ms")
    print(f"match each sweep to the last row  {1e3 * best(lambda: match(lidar.stamps, imu.stamps)):8.2f} ms")
    print(f"mean over bins of 10 ms           {1e3 * best(lambda: resample(imu, 10 * MS), 3):8.2f} ms")
    print(f"all rows in one order             {1e3 * best(lambda: merge(recording), 3):8.2f} ms")
    start = time.perf_counter()
    windows = SensorWindows([recording], ("imu", "gnss", "lidar"), 1000 * MS, period_ns=MS)
    made = time.perf_counter() - start
    rows = epoch(windows)
    taken = best(lambda: epoch(windows), 3)
    print(f"{len(windows):,} windows of 1 s: index {1e3 * made:.1f} ms, {rows / taken / 1e6:.1f} M rows/s to tensors")


def large():
    """Windows of 36 M rows that lie on disk."""
    with tempfile.TemporaryDirectory() as folder:
        save_recording(drive(36_000_000, 1000), Path(folder) / "drive")
        before = peak()
        print(f"written; the writer's peak {before / 2**20:.2f} GiB")
        import subprocess
        import sys

        subprocess.run([sys.executable, __file__, "--read", str(Path(folder) / "drive")], check=True)


def read(folder):
    """Cut all windows of a recording on disk; in its own process, for the memory's sake."""
    before = peak()
    start = time.perf_counter()
    recording = open_recording(Path(folder))
    opened = time.perf_counter() - start
    windows = SensorWindows([recording], ("imu", "gnss", "lidar"), 1000 * MS, period_ns=MS)
    start = time.perf_counter()
    rows = epoch(windows)
    taken = time.perf_counter() - start
    most = peak()
    print(
        f"{rows:,} rows: opened in {1e3 * opened:.1f} ms, {len(windows):,} windows, {rows / taken / 1e6:.1f} M rows/s, "
        f"peak {most / 2**20:.2f} GiB ({(most - before) / 2**20:.2f} above start, mapped pages counted)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--read", metavar="FOLDER", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.read:
        read(given.read)
    elif given.large:
        large()
    else:
        small()
