"""What a detector trained in simulated streets finds in real frames, never trained on: KITTI's and nuScenes's.

    MAMBATS_DATA=... python recipes/raw_pictures.py runs/raw fused_0     # after recipes/raw_table.py train

With its pictures, and without where it has a camera. A frame each: pictures to look at, no figures to quote.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import torch
from raw_table import BEFORE, CAMERA, HELD_SEED, in_grid, model_of

from mambats.series import Recording
from mambats.track.centre import RecordedPicture, RecordedSweeps, Seat, SweepBatch
from mambats.track.centre.picture import plot_sweep
from mambats.track.centre.precision import match
from mambats_datasets.synthetic.world import Lidar
from mambats_datasets.synthetic.world.lidar_drives import LidarDrives


class Upright:
    """KITTI's recordings with boxes that stand in the LiDAR's frame."""

    name = "kitti"

    def recordings(self) -> list[Recording]:
        """Return the recordings of `KittiObject`."""
        from mambats.formats.kitti.upright import upright_boxes  # here: training needs no reader of files
        from mambats_datasets.kitti import KittiObject

        made = KittiObject().recordings()
        return [
            replace(one, ragged={**one.ragged, "labels": upright_boxes(one.ragged["labels"], one.frames)})
            for one in made
        ]


def draw(folder: Path, name: str) -> None:
    """Draw what the detector finds in real frames, never trained on, and in a held-out sweep."""
    stored = torch.load(folder / f"centre_{name}.pt", map_location="cpu", weights_only=True)
    model = model_of(**stored["settings"]).eval()
    model.load_state_dict(stored["state"])
    for place, batch in frames().items():
        for camera in (True, False) if model.camera is not None else (False,):
            some = batch if camera else batch._replace(images=None, projection=None)
            found = model.find(some.points, some.images, some.projection)
            heat = model(some.points, some.images, some.projection).heat[0].detach().sigmoid()
            stem = f"{place}_{name}{'' if camera or model.camera is None else '_no_camera'}"
            path = plot_sweep(some, found, 0, folder / f"{stem}.png", heat=heat, model=model, title=stem)
            shown, known = (found.score >= 0.3) & in_grid(found.boxes), (some.labels >= 0) & in_grid(some.boxes)
            hit = match(found, some._replace(labels=torch.where(known, some.labels, -1))).truth >= 0
            told = f"{int(shown.sum())} boxes of score 0.3, {int((hit & shown).sum())} within 2 m of"
            print(f"{path}: {told} {int(known.sum())} labels of their class")


def frames() -> dict[str, SweepBatch]:
    """Return a held-out sweep, KITTI's frame and nuScenes's, each with its picture."""
    from mambats_datasets.nuscenes import NuScenes

    names = {"Car": "car", "Van": "car", "Pedestrian": "pedestrian", "Cyclist": "cyclist"}
    lower = {"car": "car", "pedestrian": "pedestrian", "bicycle": "cyclist", "motorcycle": "cyclist"}
    size = (CAMERA.height, CAMERA.width)
    kitti = RecordedSweeps(Upright(), names, seat=Seat(near=2.5), picture=RecordedPicture("camera_2", size))
    seat = Seat(-math.pi / 2, 255.0, near=2.5)
    nuscenes = RecordedSweeps(NuScenes(), lower, seat=seat, picture=RecordedPicture("camera_front", size))
    seen = LidarDrives(2, 1.0, HELD_SEED, lidar=Lidar(columns=360), camera=CAMERA).sweeps()
    made = {"kitti": kitti.sweeps().batch(torch.tensor([0])), "nuscenes": nuscenes.sweeps().batch(torch.tensor([0]))}
    return {"simulated": seen.batch(torch.tensor([len(seen) - 1]), BEFORE)} | made


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("needed: the folder of a training and the name of one of its models, fused_0.")
    draw(Path(sys.argv[1]), sys.argv[2])
