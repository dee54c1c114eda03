"""Short KITTI folders in the layouts of its benchmarks: tracking, object, odometry and raw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from mambats_datasets.fakes.kitti_rig import HEIGHT, WIDTH, Box, Spelling, calibration, numbers, raw_calibration, sweep

SPEED = 5.0  # m/s of the parked car towards the camera
START = np.datetime64("2011-09-26T13:02:25.964389445", "ns")
PARKED, WALKER = Box(-2.0, 1.6, 20.0), Box(3.0, 1.7, 12.0, h=1.8, w=0.6, l=0.8, yaw=0.3)


def fake(folder: Path, frames: int = 12, spelling: Spelling = "tracking", seed: int = 0) -> Path:
    """Write a tracking sequence 0000 with labels, detections, oxts, sweeps and pictures; return the folder."""
    rng = np.random.default_rng(seed)
    _write(folder / "calib/0000.txt", calibration(spelling))
    _write(folder / "evaluate_tracking.seqmap.training", f"0000 empty 000000 {frames:06d}\n")
    labels, solid, flat = list[str](), {"Car": list[str](), "Pedestrian": list[str]()}, list[str]()
    for frame in range(frames):
        boxes = _boxes(frame)
        labels.append(f"{frame} -1 DontCare -1 -1 -10 10.5 5.25 20 15 -1000 -1000 -1000 -10 -1 -1 -1")
        for track, (name, box) in enumerate(boxes.items()):
            edges, size = _text(box.pixels()), _text((box.h, box.w, box.l, box.x, box.y, box.z, box.yaw))
            labels.append(f"{frame} {track} {name} 0 0 {box.alpha:.6f} {edges} {size}")
            code, score = {"Pedestrian": 1, "Car": 2}[name], 5 + rng.normal()
            row = f"{frame},{code},{edges},{score:.4f},{size},{box.alpha:.4f}".replace(" ", ",")
            solid[name].append(row)
            flat += [f"{frame},{edges},{rng.random():.6f}".replace(" ", ",")] if name == "Car" else []
        sweep(list(boxes.values()), rng).tofile(_made(folder / f"velodyne/0000/{frame:06d}.bin"))
        _picture(folder / f"image_02/0000/{frame:06d}.png", frame)
    _write(folder / "label_02/0000.txt", "\n".join(labels) + "\n")
    for name, rows in solid.items():
        _write(folder / f"det3d_pointrcnn/{name}/0000.txt", "\n".join(rows) + "\n")
    _write(folder / "det2d_rrc/Car/0000.txt", "\n".join(flat) + "\n")
    _write(folder / "oxts/0000.txt", "".join(f"{_oxts(frame)}\n" for frame in range(frames)))
    return folder


def fake_object(folder: Path, seed: int = 0) -> Path:
    """Write the frame 000000 of the object benchmark; return the folder."""
    boxes = _boxes(0)
    _write(folder / "calib/000000.txt", calibration("object") + "\n")
    lines = [
        f"{name} 0.00 0 {box.alpha:.6f} {_text(box.pixels())} "
        f"{_text((box.h, box.w, box.l, box.x, box.y, box.z, box.yaw))}"
        for name, box in boxes.items()
    ]
    _write(
        folder / "label_2/000000.txt", "\n".join([*lines, "DontCare -1 -1 -10 5 5 9 9 -1 -1 -1 -1000 -1000 -1000 -10"])
    )
    sweep(list(boxes.values()), np.random.default_rng(seed)).tofile(_made(folder / "velodyne/000000.bin"))
    _picture(folder / "image_2/000000.png", 0)
    return folder


def fake_odometry(folder: Path, rows: int = 20) -> Path:
    """Write poses, times and calibration of sequence 07: a left turn; return the folder."""
    turn = -0.02 * np.arange(rows)
    sine, cosine, zero, one = np.sin(turn), np.cos(turn), np.zeros(rows), np.ones(rows)
    x, z = np.cumsum(sine), np.cumsum(cosine) - 1
    poses = np.stack([cosine, zero, sine, x, zero, one, zero, zero, -sine, zero, cosine, z], axis=1)
    _write(folder / "poses/07.txt", "".join(f"{numbers(row)}\n" for row in poses))
    _write(folder / "sequences/07/times.txt", "".join(f"{0.1037 * row:.6e}\n" for row in range(rows)))
    _write(folder / "sequences/07/calib.txt", calibration("odometry"))
    return folder


def fake_raw(folder: Path, frames: int = 8, lost: tuple[int, ...] = (3,), seed: int = 0) -> Path:
    """Write a day with one drive whose sweeps `lost` have no file, as some drives have; return the drive's folder."""
    rng, day = np.random.default_rng(seed), folder / "2011_09_26"
    drive = day / "2011_09_26_drive_0001_sync"
    for name, text in raw_calibration().items():
        _write(day / name, text)
    for place, late in (("oxts", 0), ("velodyne_points", 3_000_000), ("image_02", 7_000_000)):
        stamps = START + np.arange(frames) * np.timedelta64(103_000_000, "ns") + np.timedelta64(late, "ns")
        _write(drive / place / "timestamps.txt", "".join(f"{str(v).replace('T', ' ')}\n" for v in stamps))
    for frame in range(frames):
        _write(drive / f"oxts/data/{frame:010d}.txt", f"{_oxts(frame)}\n")
        if frame not in lost:
            points = sweep(list(_boxes(frame).values()), rng)
            points.tofile(_made(drive / f"velodyne_points/data/{frame:010d}.bin"))
        _picture(drive / f"image_02/data/{frame:010d}.png", frame)
    return drive


def _boxes(frame: int) -> dict[str, Box]:
    near = Box(PARKED.x, PARKED.y, PARKED.z - 0.1 * SPEED * frame, yaw=PARKED.yaw)
    return {"Car": near, "Pedestrian": WALKER} if frame % 4 != 3 else {"Car": near}


def _oxts(frame: int) -> str:
    """Driving north-east at 5 m/s from 49 degrees north; a quarter turn to the left a second."""
    north = 1e-5 * frame
    yaw = np.pi / 4 + np.pi / 20 * frame
    row = [49.0 + north, 8.4 + 1.5e-5 * frame, 112.0, 0.01, -0.02, yaw, 3.5, 3.6, 5.0, 0.0, 0.1]
    row += [0.1, 0.2, 9.81, 0.1, 0.2, 9.8, 0.001, -0.002, np.pi / 2, 0.0, 0.0, np.pi / 2, 0.05, 0.01]
    return " ".join(f"{v:.12g}" for v in row) + " 4 9 4 4 0"


def _picture(path: Path, frame: int) -> None:
    from PIL import Image

    shade: npt.NDArray[np.uint8] = np.full((HEIGHT, WIDTH, 3), 60 + frame, dtype=np.uint8)
    Image.fromarray(shade).save(_made(path))


def _text(values: tuple[float, ...]) -> str:
    return " ".join(f"{v:.6f}" for v in values)


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _write(path: Path, text: str) -> None:
    _made(path).write_text(text, encoding="utf-8")
