"""A short EuRoC sequence: `mav0` with IMU, ground truth, prism, markers and two cameras; or its tables loose."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mambats_datasets.fakes.body import Array, Rocking, rocking

IMU_HEADER = (
    "#timestamp [ns],w_RS_S_x [rad s^-1],w_RS_S_y [rad s^-1],w_RS_S_z [rad s^-1],"
    "a_RS_S_x [m s^-2],a_RS_S_y [m s^-2],a_RS_S_z [m s^-2]"
)
POSE_HEADER = "#timestamp [ns], p_RS_R_x [m], p_RS_R_y [m], p_RS_R_z [m], q_RS_w [], q_RS_x [], q_RS_y [], q_RS_z []"
STATE_HEADER = (
    f"{POSE_HEADER}, v_RS_R_x [m s^-1], v_RS_R_y [m s^-1], v_RS_R_z [m s^-1], b_w_RS_S_x [rad s^-1], "
    "b_w_RS_S_y [rad s^-1], b_w_RS_S_z [rad s^-1], b_a_RS_S_x [m s^-2], b_a_RS_S_y [m s^-2], b_a_RS_S_z [m s^-2]"
)
IMU_YAML = """#Default imu sensor yaml file
sensor_type: imu
comment: a fake
T_BS:
  cols: 4
  rows: 4
  data: [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]
rate_hz: 200
gyroscope_noise_density: 1.7e-04
gyroscope_random_walk: 2.0e-05
accelerometer_noise_density: 2.0e-3
accelerometer_random_walk: 3.0e-3
"""
CAMERA_YAML = """sensor_type: camera
T_BS:
  cols: 4
  rows: 4
  data: [0.0, -1.0, 0.0, -0.02, 1.0, 0.0, 0.0, {y}, 0.0, 0.0, 1.0, 0.01, 0.0, 0.0, 0.0, 1.0]
rate_hz: 20
resolution: [8, 6]
camera_model: pinhole
intrinsics: [4.5, 4.6, 4.0, 3.0] #fu, fv, cu, cv
distortion_model: radial-tangential
distortion_coefficients: [-0.28, 0.07, 0.0002, 1.8e-05]
"""


def fake(folder: Path, rows: int = 240) -> Path:
    """Write a whole sequence and return its folder."""
    body = rocking(rows, 200)
    home = folder / "mav0"
    _table(home / "imu0/data.csv", IMU_HEADER, body.stamps, np.hstack((body.rate, body.force)))
    (home / "imu0/sensor.yaml").write_text(IMU_YAML)
    late = slice(rows // 10, None)  # the ground truth begins later, as it does there
    poses = _poses(body)[late]
    _table(home / "leica0/data.csv", POSE_HEADER.split(", q")[0], body.stamps[late][::10], poses[::10, :3])
    _table(home / "vicon0/data.csv", POSE_HEADER, body.stamps[late], poses)
    states = np.hstack((poses, np.zeros((len(poses), 3)), np.full((len(poses), 6), 0.01)))
    _table(home / "state_groundtruth_estimate0/data.csv", STATE_HEADER, body.stamps[late], states)
    for camera, y in (("cam0", -0.06), ("cam1", 0.05)):
        _camera(home / camera, body.stamps[::10], CAMERA_YAML.format(y=y))
    return folder


def fake_loose(folder: Path, rows: int = 240, *, states: bool = False) -> Path:
    """Write loose tables as mirrors keep them, `imu0.csv` and poses (TUM), or blank-separated with `states`."""
    body = rocking(rows, 200)
    imu = np.hstack((body.rate, body.force))
    folder.mkdir(parents=True, exist_ok=True)
    if states:
        _table(folder / "imu0.txt", "", body.stamps, imu, " ")
        still = np.hstack((_poses(body), np.zeros((rows, 9))))
        _table(folder / "data.csv", STATE_HEADER, body.stamps, still)
        return folder
    _table(folder / "imu0.csv", IMU_HEADER, body.stamps, imu)
    lines = ["# timestamp(s) tx ty tz qx qy qz qw"]
    for stamp, place, turn in zip(body.stamps.tolist(), body.position, body.quaternion, strict=True):
        numbers = " ".join(f"{v:.6f}" for v in (*place, *turn))
        lines.append(f"{stamp // 10**9}.{stamp % 10**9:09d} {numbers}")
    (folder / "groundtruth_tum.txt").write_text("\n".join(lines) + "\n")
    return folder


def _poses(body: Rocking) -> Array:
    return np.hstack((body.position, np.roll(body.quaternion, 1, axis=1)))


def _table(path: Path, header: str, stamps: np.ndarray, values: Array, separator: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [header] if header else []
    for stamp, row in zip(stamps.tolist(), values, strict=True):
        lines.append(separator.join([str(stamp), *(repr(float(v)) for v in row)]))
    path.write_text("\n".join(lines) + "\n")


def _camera(folder: Path, stamps: np.ndarray, text: str) -> None:
    from PIL import Image

    (folder / "data").mkdir(parents=True)
    (folder / "sensor.yaml").write_text(text)
    lines = ["#timestamp [ns],filename"]
    for place, stamp in enumerate(stamps.tolist()):
        Image.fromarray(np.full((6, 8), place, dtype=np.uint8)).save(folder / "data" / f"{stamp}.png")
        lines.append(f"{stamp},{stamp}.png")
    (folder / "data.csv").write_text("\r\n".join(lines) + "\r\n")
