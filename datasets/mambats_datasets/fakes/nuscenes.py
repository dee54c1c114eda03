"""One sample in the layout of nuScenes' infos (version 1.1), with a sweep and six pictures."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
CAMERAS = {
    "FRONT": 0.0,
    "FRONT_RIGHT": -55.0,
    "FRONT_LEFT": 55.0,
    "BACK": 180.0,
    "BACK_LEFT": 110.0,
    "BACK_RIGHT": -110.0,
}
START, SPEED = 1_532_402_927.647951, 9.0  # seconds; m/s straight ahead
WIDTH, HEIGHT, FOCAL = 160, 90, 100.0
FORWARD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # optical frame to forward, left, up


def fake(folder: Path, seed: int = 0) -> Path:
    """Write the sample and return its pickle, whose numbers are partly numpy's, as published."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    to_ego = _matrix(_yaw(np.pi / 2).T, (0.94, 0.0, 1.84))  # the LiDAR looks right along x
    here = _matrix(_yaw(0.5), (400.0, 1200.0, 0.0))
    box = (6.0, 12.0, 0.0, 4.0, 2.0, 1.6, 0.3)
    name = "n015__LIDAR_TOP__1532402927647951.pcd.bin"
    _sweep(box, rng).tofile(folder / name)
    images = {f"CAM_{key}": _camera(folder, key, place, to_ego, here) for place, key in enumerate(CAMERAS)}
    instance = {"bbox_label": 0, "bbox_3d": list(box), "bbox_3d_isvalid": True, "bbox_label_3d": 0}
    instance |= {"num_lidar_pts": np.int64(50), "num_radar_pts": np.int64(0), "velocity": [0.5, float("nan")]}
    sample = {
        "sample_idx": 0,
        "token": "fa4e",
        "timestamp": START,
        "ego2global": here.tolist(),
        "images": images,
        "lidar_points": {"num_pts_feats": 5, "lidar_path": name, "lidar2ego": to_ego.tolist()},
        "instances": [instance],
    }
    infos = {"metainfo": {"categories": {"car": 0, "truck": 1}, "info_version": "1.1"}, "data_list": [sample]}
    path = folder / "n015.pkl"
    path.write_bytes(pickle.dumps(infos, protocol=2))
    return path


def _camera(folder: Path, key: str, place: int, lidar: Array, here: Array) -> dict[str, Any]:
    """Take a picture some milliseconds before the sweep, from where the car was then."""
    from PIL import Image

    early = 0.005 + 0.006 * place
    stamp = round((START - early) * 1e6)
    to_ego = _matrix(_yaw(np.radians(CAMERAS[key])) @ FORWARD, (0.5, 0.0, 1.5))
    then = here @ _matrix(np.eye(3), (-SPEED * early, 0.0, 0.0))
    name = f"n015__CAM_{key}__{stamp}.jpg"
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), 90 + 10 * place, dtype=np.uint8)).save(folder / name)
    return {
        "img_path": name,
        "cam2img": [[FOCAL, 0.0, WIDTH / 2], [0.0, FOCAL, HEIGHT / 2], [0.0, 0.0, 1.0]],
        "cam2ego": to_ego.tolist(),
        "sample_data_token": f"cam{place}",
        "timestamp": stamp / 1e6,
        "lidar2cam": (np.linalg.inv(to_ego) @ np.linalg.inv(then) @ here @ lidar).tolist(),
    }


def _sweep(box: tuple[float, ...], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Points x y z intensity ring on the ground and in the box, shape (N, 5)."""
    ground = np.column_stack([rng.uniform(-40, 40, (400, 2)), np.full(400, -1.8)])
    inside = (rng.uniform(-0.5, 0.5, (50, 3)) * box[3:6]) @ _yaw(box[6]).T + box[:3]
    points = np.vstack([ground, inside])
    rest = np.column_stack([rng.integers(0, 256, len(points)), rng.integers(0, 32, len(points))])
    return np.column_stack([points, rest]).astype(np.float32)


def _yaw(angle: float) -> Array:
    return np.array([[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, 1.0]])


def _matrix(turn: Array, shift: tuple[float, float, float]) -> Array:
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = turn, shift
    return made
