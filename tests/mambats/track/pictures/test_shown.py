"""`mambats track --pictures --rerun`, and sweeps that lie where the boxes are."""

import numpy as np
import pytest
import torch

from mambats.formats.error import DataError
from mambats.formats.kitti import read_object_labels
from mambats.track.kitti import from_kitti
from mambats.track.pictures import record_tracks, scene_of
from mambats.track.pictures.kitti_files import MOST_POINTS, Images, Sweeps
from tests.mambats.pictures.test_rerun import column, read
from tests.mambats.track.test_command import folder, track  # noqa: F401

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("matplotlib")
pytest.importorskip("rerun")


def test_pictures_and_a_recording_come_with_the_tracks(folder, capsys):  # noqa: F811
    (folder / "velodyne" / "0000").mkdir(parents=True)
    (folder / "image_02" / "0000").mkdir(parents=True)
    np.array([[15.0, 4.0, -0.85, 0.3]], "<f4").tofile(folder / "velodyne" / "0000" / "000000.bin")
    Image.new("RGB", (12, 8)).save(folder / "image_02" / "0000" / "000003.png")
    shown = ("--sweeps", str(folder / "velodyne"), "--images", str(folder / "image_02"))
    assert track(folder, "--pictures", str(folder / "pic"), "--rerun", str(folder / "rec"), *shown) == 0
    assert "a recording" in capsys.readouterr().out
    assert sorted(path.name for path in (folder / "pic").iterdir()) == [
        "0000_above.gif", "0000_above.png", "0000_nis.png", "0000_timeline.png",
    ]  # fmt: skip
    found = read(folder / "rec" / "0000.rrd")
    assert len(column(found["/scene/tracks"], "labels")) == 20
    assert len(column(found["/scene/lidar"], "positions")) == 1
    np.testing.assert_allclose(column(found["/scene/lidar"], "positions")[0][0], [15.0, 4.0, -0.85], atol=1e-5)
    assert len(column(found["/pictures/camera/tracks"], "labels")) == 20


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--sweeps", "X"], "give --rerun"),
        (["--rerun", "a", "--images", "X"], "no folder"),
        (["--rerun", "a.rrd", "--sequences", "0000,0001"], "one sequence of 2"),
    ],
)
def test_what_cannot_be_shown_is_refused_before_anything_is_written(folder, capsys, words, told):  # noqa: F811
    assert track(folder, *words) == 2
    assert told in capsys.readouterr().err and not (folder / "out").exists()


def test_broken_files_are_named(folder, tmp_path):  # noqa: F811
    images = tmp_path / "images"
    images.mkdir()
    (images / "000001.png").write_text("no picture")
    (images / "readme.txt").write_text("")
    assert list(Images(images)) == [1] and len(Images(images)) == 1 and 2 not in Images(images)
    with pytest.raises(DataError, match=r"000001\.png"):
        Images(images)[1]
    with pytest.raises(DataError, match="no such folder"):
        Sweeps(tmp_path / "none", folder / "calib" / "0000.txt")


def test_the_real_sweep_fills_the_labelled_boxes(data_root, tmp_path):
    """KITTI's object frame: points of the sweep lie in its boxes, which only right axes and calibration give."""
    root = data_root / "fusion" / "kitti_frame"
    names = sorted((root / "velodyne").glob("*.bin"))
    if not names:
        pytest.skip("no kitti_frame in the data folder")
    labels = from_kitti(read_object_labels(root / "label_2" / f"{names[0].stem}.txt")[0])
    labels = labels.take(labels.boxes.isfinite().all(-1))
    (tmp_path / "0000").mkdir()
    (tmp_path / "0000" / "000000.bin").write_bytes(names[0].read_bytes())
    sweeps = Sweeps(tmp_path / "0000", root / "calib" / f"{names[0].stem}.txt")
    assert list(sweeps) == [0]
    points = sweeps[0]
    assert 0.4 * MOST_POINTS < len(points) <= MOST_POINTS
    box = labels.boxes.numpy()
    away = points[:, None] - box[:, :3]
    cos, sin = np.cos(box[:, 6]), np.sin(box[:, 6])
    along, across = cos * away[..., 0] + sin * away[..., 1], cos * away[..., 1] - sin * away[..., 0]
    inside = (abs(along) < box[:, 3] / 2) & (abs(across) < box[:, 4] / 2) & (abs(away[..., 2]) < box[:, 5] / 2)
    assert inside.sum(0).max() > 5
    from mambats.pictures.rerun import StreamView

    tracks = labels.__class__(**{**vars(labels), "identity": torch.arange(len(labels.boxes))})
    with Image.open(root / "image_2" / f"{names[0].stem}.png") as opened:
        picture = np.asarray(opened.convert("RGB"))
    with StreamView(tmp_path / "frame.rrd") as view:
        record_tracks(scene_of(tracks, labels, "offline"), view, points=sweeps, images={0: picture})
    found = read(tmp_path / "frame.rrd")
    assert len(column(found["/scene/lidar"], "positions")[0]) == len(points)
    assert "/pictures/camera" in found and len(column(found["/scene/tracks"], "labels")[0]) == len(labels.boxes)
