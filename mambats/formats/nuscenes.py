"""One sample of nuScenes: a LiDAR sweep, six cameras, calibration, ego poses and boxes, from an infos pickle.

The infos are those that mmdetection3d writes (version 1.1). They are read by `read_pickle`, which runs no code.

Source: Caesar et al., nuScenes: a multimodal dataset for autonomous driving, CVPR 2020; mmdetection3d,
    tools/dataset_converters/update_infos_to_v2.py (the layout).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from mambats.formats.error import DataError
from mambats.formats.layout import POSE
from mambats.formats.nested import Nested
from mambats.formats.points import read_points
from mambats.formats.repair import REFUSE, Policy
from mambats.formats.restricted_pickle import MOST, read_pickle
from mambats.series import FrameTree, ImageStream, RaggedStream, Recording, Rigid, Stream

Matrix = npt.NDArray[np.float64]
POINT = ("x", "y", "z", "intensity", "ring")
BOX = ("x", "y", "z", "l", "w", "h", "yaw", "vx", "vy", "points", "class")
BOX_UNITS = ("m", "m", "m", "m", "m", "m", "rad", "m/s", "m/s", "", "")


class Infos:
    """The samples of an infos pickle.

    Args:
        path: The pickle, `nuscenes_infos_val.pkl` or the one of a single sample.
        folder: Where the files of the sensors lie, in `samples/CAM_FRONT/` and so on or all together; None for the
            pickle's folder.
        most: Largest size of the pickle in bytes.

    Raises:
        DataError: If the pickle holds anything but data, or another layout.
    """

    def __init__(self, path: Path | str, folder: Path | str | None = None, most: int = MOST) -> None:
        self.path = Path(path)
        self.folder = self.path.parent if folder is None else Path(folder)
        whole = Nested(read_pickle(self.path, most), str(self.path))
        if isinstance(whole.value, dict) and "infos" in whole.value:
            raise DataError(
                f"{path}: has the key 'infos': version 1.0. mmdetection3d's update_infos_to_v2.py converts it."
            )
        codes = cast(dict[str, int], whole.at("metainfo").at("categories", dict).value)
        self.classes: tuple[str, ...] = (*sorted(codes, key=lambda name: codes[name]), "other")
        self._samples = whole.at("data_list", list)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(cast(Sequence[Any], self._samples.value))

    def recording(self, sample: int = 0, policy: Policy = REFUSE) -> Recording:
        """Read one sample.

        Args:
            sample: Which.
            policy: `torn='repair'` leaves out a last point that is cut off.

        Returns:
            A recording with the ragged streams `lidar` (frame lidar: x right, y forward, z up, as the sensor is
            mounted) and `labels` (boxes in it: x y z of the middle, l w h, yaw about z from x, velocity NaN where not
            known), the pictures `camera_front`, `camera_front_left` and so on, each with its own stamp, the frames
            `base_link` (the ego vehicle), `lidar` and the cameras, and the truth `pose` of base_link in `map` at the
            stamps of all sensors.

        Raises:
            DataError: If there is no such sample, or a part of it is missing or wrong; names it.
        """
        if not 0 <= sample < len(self):
            raise DataError(f"{self.path}: has no sample {sample}, it has {len(self)}, counted from 0.")
        entry = self._samples.at(sample)
        stamp = _stamp(entry)
        lidar_to_ego = entry.at("lidar_points").rigid("lidar2ego")
        poses = {stamp: entry.rigid("ego2global")}
        edges = [Rigid.from_matrix("base_link", "lidar", lidar_to_ego)]
        lidar, lines = self._lidar(entry.at("lidar_points"), stamp, policy)
        images, repairs = dict[str, ImageStream](), list(lines)
        for key in cast(dict[Any, Any], entry.at("images", dict).value):
            camera, name = entry.at("images").at(key), str(key).lower().replace("cam_", "camera_")
            if any(edge.child == name for edge in edges):
                raise DataError(f"{camera.where}: there is a {name} already. Remove one.")
            to_ego, clock = camera.rigid("cam2ego"), _stamp(camera)
            edges.append(Rigid.from_matrix("base_link", name, to_ego))
            # lidar2cam goes through the world, so it holds where the car was at the camera's own stamp.
            through = lidar_to_ego @ np.linalg.inv(camera.rigid("lidar2cam")) @ np.linalg.inv(to_ego)
            poses.setdefault(clock, poses[stamp] @ through)
            if picture := self._find(str(camera.at("img_path", str).value), str(key)):
                lens = camera.matrix("cam2img", 3)
                images[name] = ImageStream(np.array([clock], dtype=np.int64), [picture], name, lens)
            else:
                repairs.append(f"{self.folder}: {camera.at('img_path').value} is not there, {name} left out")
        ragged = {"lidar": lidar}
        if "instances" in entry.value:
            ragged["labels"] = self._labels(entry.at("instances", list), stamp)
        name, truth = str(entry.at("token", str).value), {"pose": _pose(poses)}
        return Recording(name, {}, {}, ragged, images, FrameTree(tuple(edges)), truth, tuple(repairs))

    def _lidar(self, entry: Nested, stamp: int, policy: Policy) -> tuple[RaggedStream, tuple[str, ...]]:
        name = str(entry.at("lidar_path", str).value)
        if (count := entry.at("num_pts_feats").value) != len(POINT):
            raise DataError(f"{entry.where}['num_pts_feats'] is {count!r}, needed {len(POINT)}: {' '.join(POINT)}.")
        path = self._find(name, "LIDAR_TOP")
        if path is None:
            raise DataError(
                f"{self.folder}: {Path(name).name} is not there nor in samples/LIDAR_TOP. Give its `folder`."
            )
        points, repairs = read_points(path, POINT, policy)
        splits = np.array([0, len(points)], dtype=np.int64)
        units = ("m", "m", "m", "", "")
        return RaggedStream(np.array([stamp], dtype=np.int64), splits, points, POINT, units, "lidar"), repairs

    def _labels(self, entry: Nested, stamp: int) -> RaggedStream:
        boxes = [self._box(entry.at(row)) for row in range(len(cast(Sequence[Any], entry.value)))]
        values = np.array(boxes, dtype=np.float64).reshape(-1, len(BOX))
        splits = np.array([0, len(values)], dtype=np.int64)
        labels = {"class": self.classes}
        return RaggedStream(np.array([stamp], dtype=np.int64), splits, values, BOX, BOX_UNITS, "lidar", labels)

    def _box(self, entry: Nested) -> list[float]:
        box = [entry.at("bbox_3d").at(i).number() for i in range(7)]
        if not np.isfinite(box).all() or min(box[3:6]) <= 0:
            raise DataError(f"{entry.where}['bbox_3d'] is {box}: needed finite numbers and sizes above 0.")
        code = int(entry.at("bbox_label_3d").number())
        if not -1 <= code < len(self.classes) - 1:
            raise DataError(f"{entry.where}['bbox_label_3d'] is {code}, classes are 0 to {len(self.classes) - 2}.")
        speed = [entry.at("velocity").at(i).number() for i in range(2)]
        return [*box, *speed, entry.at("num_lidar_pts").number(), float(code % len(self.classes))]

    def _find(self, name: str, sensor: str) -> Path | None:
        """Only the file's name is taken: a path of the pickle must not lead out of the folder."""
        file = Path(name).name
        places = (self.folder / file, self.folder / "samples" / sensor / file, self.folder / sensor / file)
        return next((place for place in places if place.is_file()), None)


def read_nuscenes(
    path: Path | str, sample: int = 0, *, folder: Path | str | None = None, policy: Policy = REFUSE
) -> Recording:
    """Read one sample of an infos pickle; see `Infos` for several.

    Raises:
        DataError: If a file cannot be used; names it and what is wrong.
    """
    return Infos(path, folder).recording(sample, policy)


def _stamp(entry: Nested) -> int:
    """Seconds as float64 hold microseconds, which is what nuScenes has."""
    seconds = entry.at("timestamp").number()
    if not 0 <= seconds < 1e10:
        raise DataError(f"{entry.where}['timestamp'] is {seconds!r}, needed seconds since 1970.")
    return round(seconds * 1e6) * 1000


def _pose(poses: Mapping[int, Matrix]) -> Stream:
    from scipy.spatial.transform import Rotation

    stamps = sorted(poses)
    matrices = np.stack([poses[stamp] for stamp in stamps])
    values = np.hstack([matrices[:, :3, 3], Rotation.from_matrix(matrices[:, :3, :3]).as_quat()])
    clock = np.array(stamps, dtype=np.int64)
    return Stream(clock, values, POSE.channels, unit=POSE.unit, frame="map")
