"""EuRoC MAV recordings: the ASL layout (`mav0/imu0/data.csv` ...), and loose files of the same tables.

Source: Burri et al., The EuRoC micro aerial vehicle datasets, IJRR 2016.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mambats.formats.asl import Sensor, read_camera, read_sensor
from mambats.formats.error import DataError
from mambats.formats.inertial import check_imu, check_quaternion_order, check_turning
from mambats.formats.layout import ACCELERATION, IMU, POSE, POSITION, RATE, VELOCITY, Layout, Made, make_stream
from mambats.formats.repair import REFUSE, Policy
from mambats.formats.seconds import TimeUnit, text_to_ns
from mambats.formats.sheet import Sheet, read_sheet
from mambats.formats.tum import tum_pose
from mambats.series import FrameTree, ImageStream, Recording, Rigid, Stream

# Columns of the tables behind the stamp. Quaternions stand scalar first in the files.
IMU_COLUMNS = ((IMU, (1, 2, 3, 4, 5, 6), "imu"),)
POSE_COLUMNS = ((POSE, (1, 2, 3, 5, 6, 7, 4), "pose"),)
STATE_COLUMNS = (
    *POSE_COLUMNS,
    (VELOCITY, (8, 9, 10), "velocity"),
    (RATE, (11, 12, 13), "gyroscope_bias"),
    (ACCELERATION, (14, 15, 16), "accelerometer_bias"),
)
POSITION_COLUMNS = ((POSITION, (1, 2, 3), "position"),)
Columns = tuple[tuple[Layout, tuple[int, ...], str], ...]
NANOSECONDS = 10**14  # a stamp of this century counts 1e18 ns, or 1e9 s


@dataclass
class _Found:
    """What is collected before it becomes a recording."""

    streams: dict[str, Stream] = field(default_factory=dict[str, Stream])
    truth: dict[str, Stream] = field(default_factory=dict[str, Stream])
    images: dict[str, ImageStream] = field(default_factory=dict[str, ImageStream])
    edges: list[Rigid] = field(default_factory=list[Rigid])
    static: dict[str, float] = field(default_factory=dict[str, float])
    repairs: list[str] = field(default_factory=list[str])

    def add(self, made: Mapping[str, Made], into: dict[str, Stream]) -> None:
        into.update({name: one.stream for name, one in made.items()})
        self.repairs += dict.fromkeys(line for one in made.values() for line in one.repairs)


def read_euroc(folder: Path | str, policy: Policy = REFUSE) -> Recording:
    """Read one sequence.

    Streams: `imu`; images `cam0`, `cam1`. Truth: `pose` (the body in `map`, z up), and where the sequence has them
    `velocity` (in `map`), `gyroscope_bias`, `accelerometer_bias`, `leica` (positions of the prism) and `vicon` (poses
    of its markers). Frames: `base_link` is the body of the files, which is the IMU's frame: its x axis points up.
    Static facts: rates and noise densities out of `sensor.yaml`, from which the covariance of `imu` is made (density
    squared times rate).

    Args:
        folder: That of the sequence, its `mav0`, or one with loose files: tables of 7 columns (IMU), 17 (states) or 8
            (poses in ns as Vicon gives them, or TUM trajectories in seconds), separated by commas or blanks.
        policy: What to do with faults.

    Raises:
        DataError: If there is no IMU, or a file has a fault that the policy refuses; names file and line.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder. Give the folder of a sequence (it holds mav0).")
    home = root / "mav0" if (root / "mav0").is_dir() else root
    found = _Found()
    if (home / "imu0").is_dir():
        _read_asl(home, policy, found)
    else:
        _read_loose(home, policy, found)
    _check(found, str(root), policy)
    name = root.resolve().parent.name if root.name == "mav0" else root.resolve().name
    return Recording(
        name,
        found.streams,
        found.static,
        images=found.images,
        frames=FrameTree(tuple(found.edges)),
        truth=found.truth,
        repairs=tuple(found.repairs),
    )


def _read_asl(home: Path, policy: Policy, found: _Found) -> None:
    imu = read_sensor(home / "imu0", "imu")
    found.add(_tables(home / "imu0/data.csv", IMU_COLUMNS, policy, "imu"), found.streams)
    found.streams["imu"] = replace(found.streams["imu"], covariance=imu.covariance)
    found.static |= imu.facts
    for folder, columns, frame in (
        ("state_groundtruth_estimate0", STATE_COLUMNS, "map"),
        ("leica0", POSITION_COLUMNS, "map"),
        ("vicon0", POSE_COLUMNS, "map"),
    ):
        if (home / folder / "data.csv").is_file():
            made = _tables(home / folder / "data.csv", columns, policy, frame)
            single = folder[:-1]
            found.add(made if folder.startswith("state") else {single: next(iter(made.values()))}, found.truth)
    sensors = [imu, *(read_sensor(home / f"{name}0", name) for name in ("leica", "vicon"))]
    for camera in sorted(home.glob("cam[0-9]")):
        sensor = read_sensor(camera, camera.name)
        found.images[camera.name], lines = read_camera(camera, sensor, policy)
        found.repairs += lines
        sensors.append(sensor)
    found.edges += _edges(sensors)


def _edges(sensors: list[Sensor]) -> list[Rigid]:
    return [
        Rigid.from_matrix("base_link", sensor.name, sensor.mounted) for sensor in sensors if sensor.mounted is not None
    ]


def _read_loose(home: Path, policy: Policy, found: _Found) -> None:
    paths = [path for path in sorted(home.iterdir()) if path.suffix in (".csv", ".txt", ".gz") and path.is_file()]
    for path in paths:
        sheet = read_sheet(path, policy)
        kind = {7: IMU_COLUMNS, 8: POSE_COLUMNS, 17: STATE_COLUMNS}.get(sheet.width)
        if kind is None:
            raise DataError(
                f"{path}: {sheet.width} columns; known are 7 (IMU), 8 (poses) and 17 (states). Move other files away."
            )
        into = found.streams if kind is IMU_COLUMNS else found.truth
        if repeated := [name for *_, name in kind if name in into]:
            raise DataError(f"{path}: a second file gives {repeated}. Keep one of them in {home}.")
        if kind is POSE_COLUMNS and _unit(sheet) == "s":
            made = {"pose": tum_pose(sheet, policy)}
        else:
            made = _streams(sheet, kind, policy, "imu" if kind is IMU_COLUMNS else "map")
        found.repairs += sheet.repairs
        found.add(made, into)


def _tables(path: Path, columns: Columns, policy: Policy, frame: str) -> dict[str, Made]:
    sheet = read_sheet(path, policy)
    wanted = 1 + sum(len(place) for _, place, _ in columns)
    if sheet.width != wanted:
        raise DataError(
            f"{path}: {sheet.width} columns, needed {wanted}: a stamp in ns, then "
            f"{', '.join(name for *_, name in columns)}."
        )
    made = _streams(sheet, columns, policy, frame)
    first = next(iter(made))
    return made | {first: replace(made[first], repairs=(*sheet.repairs, *made[first].repairs))}


def _streams(sheet: Sheet, columns: Columns, policy: Policy, frame: str) -> dict[str, Made]:
    stamps = sheet.stamps(0, _unit(sheet))
    frames = {"gyroscope_bias": "imu", "accelerometer_bias": "imu"}
    return {
        name: make_stream(stamps, sheet.numbers(place), layout, sheet.place, policy, frame=frames.get(name, frame))
        for layout, place, name in columns
    }


def _unit(sheet: Sheet) -> TimeUnit:
    first = text_to_ns(sheet.frame["0"].head(1), "ns", sheet.place)  # rounded where it is seconds
    return "ns" if abs(int(first[0])) > NANOSECONDS else "s"


def _check(found: _Found, where: str, policy: Policy) -> None:
    if "imu" not in found.streams:
        raise DataError(f"{where}: no IMU. Needed mav0/imu0/data.csv, or a loose table of 7 columns.")
    imu, pose = found.streams["imu"], found.truth.get("pose")
    check_imu(imu, f"{where}, imu", policy)
    if pose is not None:
        check_quaternion_order(imu, pose, f"{where}, ground truth", policy)
        check_turning(imu, pose, f"{where}, imu", policy)
