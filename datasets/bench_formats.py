"""How fast are logs read? Every format of which a real file is below MAMBATS_DATA, beside numpy's own loading of it.

    POLARS_MAX_THREADS=1 python datasets/bench_formats.py [--seconds 1] [--only euroc]

Times are the best of several, in seconds of processor time of one thread (a busy machine disturbs it less than the
clock), files in the page cache. Ours covers opening, the checks of every line, exact nanoseconds, units and truth, and
ends with recordings; numpy's (scipy's for .mat) ends with arrays. MB are of the plain text or
binary; rows are the stamped rows of all streams and truths, and those of tables (points, boxes). To add a
format: one entry in `ENTRIES`.
"""

from __future__ import annotations

import argparse
import gzip
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mambats.series import RaggedStream, Recording


@dataclass(frozen=True)
class Entry:
    """One format.

    Args:
        name: Of the format.
        files: Pattern below the data root; the first match, or all where `whole`, are read.
        read: Ours: paths to recordings.
        peer: Somebody else's reading of the same paths.
        other: Whose.
    """

    name: str
    files: str
    read: Callable[[list[Path]], Sequence[Recording]]
    peer: Callable[[list[Path]], object] | None = None
    other: str = "numpy"
    whole: bool = False


def read_euroc(paths: list[Path]) -> list[Recording]:
    from mambats.formats import read_euroc

    return [read_euroc(paths[0].parent)]


def read_broad(paths: list[Path]) -> list[Recording]:
    from mambats.formats import read_broad

    return [read_broad(path) for path in paths]


def read_gtsam_ins(paths: list[Path]) -> list[Recording]:
    from mambats.formats import read_gtsam_ins

    return [read_gtsam_ins(paths[0].parent)]


def read_cmapss(paths: list[Path]) -> list[Recording]:
    from mambats.formats import read_cmapss

    return read_cmapss(paths[0].parent)


def read_nab(paths: list[Path]) -> list[Recording]:
    from mambats.formats import REPAIR, read_nab

    return [read_nab(path, path.with_name("combined_windows.json"), REPAIR) for path in paths]


def read_uea(paths: list[Path]) -> list[Recording]:
    from mambats.formats import read_uea

    return [recording for path in paths for recording in read_uea(path).recordings]


def read_sensor_csv(paths: list[Path]) -> list[Recording]:
    from mambats.formats import read_sensor_csv
    from mambats_datasets.imufusion import SENSORS

    return [read_sensor_csv(path, SENSORS, "Time (s)") for path in paths]


def read_tum(paths: list[Path]) -> list[Recording]:
    from mambats.formats import read_tum

    return [read_tum(path) for path in paths]


def read_kitti_labels(paths: list[Path]) -> list[Recording]:
    from mambats.formats.kitti import read_tracks

    return [Recording(path.stem, {}, ragged={"labels": read_tracks(path)}) for path in paths]


def read_kitti_detections(paths: list[Path]) -> list[Recording]:
    from mambats.formats.kitti import read_detections

    return [Recording(path.stem, {}, ragged={"detections": read_detections(path)}) for path in paths]


def read_kitti_sweep(paths: list[Path]) -> list[Recording]:
    from mambats.formats.kitti import read_object

    return [read_object(path.parents[1], path.stem) for path in paths]


def read_kitti_poses(paths: list[Path]) -> list[Recording]:
    from mambats.formats.kitti import read_poses

    return [read_poses(path) for path in paths]


def read_nuscenes(paths: list[Path]) -> list[Recording]:
    from mambats.formats.nuscenes import read_nuscenes

    return [read_nuscenes(path) for path in paths if path.suffix == ".pkl"]


def read_mcap(paths: list[Path]) -> list[Recording]:
    from mambats.formats import read_bag

    return [read_bag(path) for path in paths]


def load_messages(paths: list[Path]) -> object:
    """Decode every message to an object, as rosbags does."""
    from rosbags.highlevel import AnyReader

    with AnyReader(paths) as reader:
        return [reader.deserialize(raw, connection.msgtype) for connection, _, raw in reader.messages()]


def load_labels(paths: list[Path]) -> object:
    """Load all columns but the class, which is a word."""
    return [np.loadtxt(path, usecols=(0, 1, *range(3, 17))) for path in paths]


def load_commas(paths: list[Path]) -> object:
    return [np.loadtxt(path, delimiter=",") for path in paths]


def load_plain(paths: list[Path]) -> object:
    return [np.loadtxt(path) for path in paths]


def load_floats(paths: list[Path]) -> object:
    """Load the points alone: no pickle, no calibration, no label."""
    return [np.fromfile(path, np.float32) for path in paths if path.suffix == ".bin"]


def load_text(paths: list[Path]) -> object:
    """Load tables of numbers as `numpy.loadtxt` does: a header line is skipped, the separator known."""
    tables = list[object]()
    for path in paths:
        separator = "," if path.suffix == ".csv" or "Gps" in path.name else None
        head = 0 if "FD00" in path.name else 1
        tables.append(np.loadtxt(path, delimiter=separator, skiprows=head))
    return tables


def load_mat(paths: list[Path]) -> object:
    from scipy.io import loadmat

    return [loadmat(path) for path in paths]


def load_dated(paths: list[Path]) -> object:
    kind = np.dtype([("timestamp", "datetime64[s]"), ("value", np.float64)])
    return [np.loadtxt(path, dtype=kind, delimiter=",", skiprows=1) for path in paths]


def load_cases(paths: list[Path]) -> object:
    """Split lines and let numpy convert them."""
    cases = list[object]()
    for path in paths:
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        rows = [line.split(":")[:-1] for line in lines if line and line[0] not in "#@"]
        cases.append([np.array([field.split(",") for field in row], dtype=np.float64) for row in rows])
    return cases


ENTRIES = [
    Entry("EuRoC (loose tables)", "fusion/euroc/MH_01_easy/*", read_euroc, load_text, whole=True),
    Entry("TUM trajectory", "fusion/euroc/MH_01_easy/groundtruth_tum.txt", read_tum, load_text),
    Entry("BROAD .mat", "fusion/broad/*.mat", read_broad, load_mat, "scipy", whole=True),
    Entry("GTSAM INS (gzipped)", "fusion/gtsam_kitti_ins/*", read_gtsam_ins, load_text, whole=True),
    Entry("sensor CSV (x-IMU3)", "fusion/imufusion/sensor_data.csv", read_sensor_csv, load_text),
    Entry("C-MAPSS", "fusion/cmapss/train_FD001.txt", read_cmapss, load_text),
    Entry("NAB (gzipped)", "timeseries/nab/*.csv.gz", read_nab, load_dated, whole=True),
    Entry("UEA .ts (gzipped)", "timeseries/uea/*.ts.gz", read_uea, load_cases, whole=True),
    Entry("KITTI tracking labels", "fusion/kitti_tracking/label_02/*.txt", read_kitti_labels, load_labels, whole=True),
    Entry("KITTI detections", "fusion/kitti_tracking/det3d*/Car/*.txt", read_kitti_detections, load_commas, whole=True),
    Entry("KITTI odometry poses", "fusion/kitti_odometry/gt_poses/*.txt", read_kitti_poses, load_plain, whole=True),
    Entry("KITTI object frame", "fusion/kitti_frame/velodyne/*.bin", read_kitti_sweep, load_floats, "numpy, points"),
    Entry("MCAP, ROS 2 (zstd)", "fusion/io/*.mcap", read_mcap, load_messages, "rosbags"),
    Entry("nuScenes sample", "fusion/nuscenes_frame/*[nl]", read_nuscenes, load_floats, "numpy, points", whole=True),
]


def best(call: Callable[[], object], seconds: float) -> float:
    """Shortest of at least three runs, and of as many as fit."""
    times, stop = list[float](), time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < stop:
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return min(times)


def size(paths: list[Path]) -> float:
    """Plain megabytes."""
    return sum(len(gzip.decompress(p.read_bytes())) if p.suffix == ".gz" else p.stat().st_size for p in paths) / 1e6


def shape(recordings: Sequence[Recording]) -> tuple[int, int]:
    """Streams (of one recording) and stamped rows (of all)."""
    held = [[*r.streams.values(), *r.truth.values(), *r.ragged.values(), *r.images.values()] for r in recordings]
    every = [stream for streams in held for stream in streams]
    rows = sum(len(stream.values if isinstance(stream, RaggedStream) else stream) for stream in every)
    return max(len(streams) for streams in held), rows


def line(entry: Entry, root: Path, seconds: float) -> str | None:
    paths = sorted(path for path in root.glob(entry.files) if path.is_file())
    if not paths:
        return None
    paths = paths if entry.whole else paths[:1]
    streams, rows = shape(entry.read(paths))
    megabytes = size(paths)
    ours = best(lambda: entry.read(paths), seconds)
    cells = [entry.name, str(len(paths)), f"{megabytes:.1f}", str(streams), f"{rows:,}"]
    cells += [f"{1000 * ours:.0f}", f"{megabytes / ours:.0f}", f"{rows / ours:,.0f}"]
    if entry.peer is not None:
        peer = entry.peer
        theirs = best(lambda: peer(paths), seconds)
        cells += [f"{entry.other} {1000 * theirs:.0f}", f"{megabytes / theirs:.0f}", f"{theirs / ours:.2f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how fast logs are read.")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each reader of each format")
    parser.add_argument("--only", default="", help="part of a format's name")
    options = parser.parse_args()
    root = Path(os.environ.get("MAMBATS_DATA", ".data"))
    load, cores = os.getloadavg()[0], os.cpu_count()
    print(f"Best of {options.seconds:g} s, load {load:.1f}, {cores} cores, numpy {np.__version__}\n")
    print("| format | files | MB | streams | rows | ms | MB/s | rows/s | other's ms | other's MB/s | times as fast |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    absent = list[str]()
    for entry in ENTRIES:
        if options.only.lower() not in entry.name.lower():
            continue
        made = line(entry, root, options.seconds)
        if made is None:
            absent.append(entry.name)
        else:
            print(made, flush=True)
    if absent:
        print(f"\nNot below {root}: {', '.join(absent)}.")


if __name__ == "__main__":
    main()
