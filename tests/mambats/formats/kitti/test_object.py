import numpy as np
import pytest
from PIL import Image

from mambats.formats import DataError
from mambats.formats.kitti import read_object
from mambats.formats.repair import REPAIR
from mambats.pictures import project
from mambats_datasets.fakes import kitti


def inside(recording, points):
    """For each labelled object the points in its box, widened by 10 %, and its edges in the picture."""
    labels = recording.ragged["labels"]
    to_rect = recording.frames.transform("camera_rect", "lidar")
    there = points @ to_rect[:3, :3].T + to_rect[:3, 3]
    for row in labels.table(0):
        box = dict(zip(labels.channels, row, strict=True))
        if labels.labels["class"][int(box["class"])] == "DontCare":
            continue
        sine, cosine = np.sin(box["yaw"]), np.cos(box["yaw"])
        turn = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
        local = (there - (box["x"], box["y"] - box["h"] / 2, box["z"])) @ turn
        half = np.array([box["l"], box["h"], box["w"]]) * 0.55
        yield np.flatnonzero((np.abs(local) <= half).all(1)), [box[k] for k in ("left", "top", "right", "bottom")]


def share_on_objects(recording, slack):
    points = recording.ragged["lidar"].table(0)[:, :3].astype(np.float64)
    camera = recording.images["camera_2"]
    transform = recording.frames.transform("camera_2", "lidar")
    shares = []
    for rows, (left, top, right, bottom) in inside(recording, points):
        seen = project(points[rows], transform, camera.intrinsics)
        low, high = np.array([left, top]) - slack, np.array([right, bottom]) + slack
        shares.append((len(rows), float(((seen.pixels >= low) & (seen.pixels <= high)).all(1).mean())))
    return shares


def test_points_in_a_box_are_seen_in_its_rectangle(tmp_path):
    recording = read_object(kitti.fake_object(tmp_path), "000000")
    shares = share_on_objects(recording, 3)
    assert len(shares) == 2
    assert all(count >= 60 and share > 0.95 for count, share in shares), shares
    assert recording.ragged["lidar"].channels == ("x", "y", "z", "intensity")
    assert recording.images["camera_2"].image(0).shape == (60, 160, 3)
    assert [len(recording.ragged["labels"]), recording.ragged["labels"].stamps[0]] == [1, 0]


def test_parts_may_be_missing_but_not_all(tmp_path):
    root = kitti.fake_object(tmp_path)
    (root / "label_2/000000.txt").unlink()
    (root / "velodyne/000000.bin").unlink()
    assert list(read_object(root, "000000").images) == ["camera_2"]
    (root / "image_2/000000.png").unlink()
    with pytest.raises(DataError, match="no sweep, picture or label of frame 000000"):
        read_object(root, "000000")


def test_points_that_are_not_finite_are_left_out_and_reported(tmp_path):
    root = kitti.fake_object(tmp_path)
    points = np.fromfile(root / "velodyne/000000.bin", np.float32).reshape(-1, 4)
    points[[3, 8], [0, 2]] = np.nan
    points.tofile(root / "velodyne/000000.bin")
    recording = read_object(root, "000000")
    assert len(recording.ragged["lidar"].values) == len(points) - 2
    assert "2 points that are not finite, left out, the first is point 3 at byte 48" in recording.repairs[0]


def test_a_truncated_sweep_is_named(tmp_path):
    root = kitti.fake_object(tmp_path)
    path = root / "velodyne/000000.bin"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match=r"000000\.bin: has \d+ bytes, no multiple of 16 \(float32 x y z intensity\)"):
        read_object(root, "000000")
    assert "cut off" in read_object(root, "000000", policy=REPAIR).repairs[0]


def test_the_real_frame(data_root):
    recording = read_object(data_root / "fusion/kitti_frame", "000001")
    assert recording.ragged["lidar"].values.shape == (120_268, 4)
    shares = share_on_objects(recording, 3)
    assert len(shares) == 3
    # Truck, car and cyclist at 46 to 69 m: what the LiDAR hit of them must be seen in their rectangles.
    assert all(share > 0.95 for count, share in shares if count) and sum(count for count, _ in shares) > 50
    picture = recording.images["camera_2"]
    with Image.open(picture.pictures[0]) as opened:
        assert picture.image(0).shape == (opened.height, opened.width, 3)
