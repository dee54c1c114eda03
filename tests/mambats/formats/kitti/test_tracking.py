from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mambats.formats import DataError
from mambats.formats.kitti import (
    CLASSES,
    read_detections,
    read_detections_2d,
    read_seqmap,
    read_tracking,
    read_tracks,
    write_tracks,
)
from mambats.formats.repair import REPAIR
from mambats.series import RaggedStream
from mambats_datasets.fakes import kitti

PERIOD = 100_000_000


def test_a_whole_sequence_is_one_recording(tmp_path):
    recording = read_tracking(kitti.fake(tmp_path), "0000")
    assert recording.name == "kitti_tracking_0000"
    assert list(recording.ragged) == ["labels", "detections", "detections_2d", "lidar"]
    assert list(recording.streams) == ["imu", "gnss", "velocity"]
    assert list(recording.images) == ["camera_2"]
    for stream in (*recording.ragged.values(), *recording.streams.values(), *recording.images.values()):
        assert stream.stamps.tolist() == [frame * PERIOD for frame in range(12)]
    labels = recording.ragged["labels"]
    assert labels.frame == "camera_rect"
    assert dict(zip(labels.channels, labels.units, strict=True))["yaw"] == "rad"
    kinds = labels.table(0)[:, labels.channels.index("class")]
    assert [labels.labels["class"][int(code)] for code in kinds] == ["DontCare", "Car", "Pedestrian"]
    assert len(labels.table(3)) == 2
    assert recording.images["camera_2"].image(5)[0, 0].tolist() == [65, 65, 65]
    assert recording.repairs == ()


def test_detections_of_several_classes_are_merged_by_frame(tmp_path):
    root = kitti.fake(tmp_path)
    paths = sorted((root / "det3d_pointrcnn").glob("*/0000.txt"))
    both, cars = read_detections(paths), read_detections(paths[0])
    assert np.diff(both.splits).tolist() == [2, 2, 2, 1] * 3
    assert np.diff(cars.splits).tolist() == [1] * 12
    assert both.labels["class"] == ("Pedestrian", "Car", "Cyclist")
    assert both.table(0)[:, 0].tolist() == [1, 0]
    np.testing.assert_array_equal(both.table(3), cars.table(3))


def test_the_car_is_where_its_detection_and_label_say(tmp_path):
    recording = read_tracking(kitti.fake(tmp_path), "0000")
    for name in ("labels", "detections"):
        stream = recording.ragged[name]
        place = [stream.channels.index(c) for c in ("x", "y", "z")]
        car = next(
            row for row in stream.table(5) if stream.labels["class"][int(row[stream.channels.index("class")])] == "Car"
        )
        np.testing.assert_allclose(car[place], (-2, 1.6, 20 - 2.5), atol=1e-6)


def test_flat_detections_have_the_class_of_their_file(tmp_path):
    root = kitti.fake(tmp_path)
    flat = read_detections_2d({"Car": root / "det2d_rrc/Car/0000.txt"}, frames=20)
    assert flat.channels == ("left", "top", "right", "bottom", "score", "class")
    assert len(flat) == 20 and np.diff(flat.splits).tolist() == [1] * 12 + [0] * 8
    assert flat.frame == "camera_2" and set(flat.values[:, -1]) == {CLASSES.index("Car")}
    with pytest.raises(DataError, match="class 'Horse', known are Car"):
        read_detections_2d({"Horse": root / "det2d_rrc/Car/0000.txt"})


def test_the_length_comes_from_what_knows_it(tmp_path):
    root = kitti.fake(tmp_path)
    (root / "label_02/0000.txt").write_text("")
    assert read_seqmap(root / "evaluate_tracking.seqmap.training") == {"0000": 12}
    (root / "evaluate_tracking.seqmap.training").write_text("0000 empty 000000 000012\n")
    assert len(read_tracking(root, "0000").ragged["labels"]) == 12
    with pytest.raises(
        DataError, match=r"Car/0000\.txt, line 6: frame is 5, the sequence has 5 frames \(7 such rows\)"
    ):
        read_tracking(root, "0000", frames=5, lidar=False)
    (root / "evaluate_tracking.seqmap.training").write_text("0000 empty 000003 000012\n")
    with pytest.raises(DataError, match="seqmap.training, line 1"):
        read_tracking(root, "0000")


def test_a_frame_that_cannot_be_is_refused_before_it_costs_memory(tmp_path):
    path = kitti.fake(tmp_path) / "det3d_pointrcnn/Car/0000.txt"
    last = path.read_text().splitlines()[-1].split(",", 1)[1]
    path.write_text(path.read_text() + f"99999999999,{last}\n")
    with pytest.raises(DataError, match=r"Car/0000\.txt, line \d+: frame is 1e\+11, needed one below 10,000,000"):
        read_detections(path)


def test_only_the_calibration_is_needed(tmp_path):
    root = kitti.fake(tmp_path)
    (root / "evaluate_tracking.seqmap.training").write_text("0001 empty 000000 000002\n")
    (root / "calib/0001.txt").write_text((root / "calib/0000.txt").read_text())
    recording = read_tracking(root, "0001")
    assert not recording.ragged and not recording.streams and not recording.images
    with pytest.raises(DataError, match=r"calib/0002\.txt: cannot be read"):
        read_tracking(root, "0002")


def test_oxts_and_frames_must_agree(tmp_path):
    root = kitti.fake(tmp_path)
    lines = (root / "oxts/0000.txt").read_text().splitlines()
    (root / "oxts/0000.txt").write_text("\n".join(lines[:9]) + "\n")
    with pytest.raises(DataError, match=r"oxts/0000\.txt: has 9 rows, the sequence has 12 frames"):
        read_tracking(root, "0000")


def test_missing_and_torn_sweeps_are_reported(tmp_path):
    root = kitti.fake(tmp_path)
    (root / "velodyne/0000/000004.bin").unlink()
    torn = root / "velodyne/0000/000007.bin"
    torn.write_bytes(torn.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"000007\.bin: has \d+ bytes, no multiple of 16 .*: 11 from byte \d+"):
        read_tracking(root, "0000")
    recording = read_tracking(root, "0000", policy=REPAIR)
    assert recording.ragged["lidar"].stamps.tolist() == [frame * PERIOD for frame in range(12) if frame != 4]
    assert "1 of 12 frames have no file, left out, the first is frame 4" in recording.repairs[0]
    assert "000007.bin: a last point cut off after 11 of 16 bytes, left out" in recording.repairs[1]


def test_tracks_come_back_as_they_were_written(tmp_path):
    tracks = read_tracks(kitti.fake(tmp_path) / "label_02/0000.txt")
    again = read_tracks(write_tracks(tmp_path / "out.txt", tracks))
    np.testing.assert_array_equal(again.values, tracks.values)
    np.testing.assert_array_equal(again.splits, tracks.splits)
    assert again.channels == tracks.channels


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(0, 99))
def test_results_come_back_as_they_were_written(tmp_path_factory, counts, seed):
    rng = np.random.default_rng(seed)
    counts = [*counts, 1]  # a file does not say that its last frames are empty
    channels = ("track", "class", "h", "w", "l", "x", "y", "z", "yaw", "score")
    values = rng.normal(size=(sum(counts), len(channels)))
    values[:, 0], values[:, 1], values[:, 2:5] = rng.integers(0, 9, len(values)), rng.integers(0, 2, len(values)), 1.5
    splits = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    stamps = np.arange(len(counts), dtype=np.int64) * PERIOD
    tracks = RaggedStream(stamps, splits, values, channels, labels={"class": ("Cyclist", "Van")})
    read = read_tracks(write_tracks(tmp_path_factory.mktemp("w") / "0000.txt", tracks))
    np.testing.assert_array_equal(read.splits, splits)
    for at, name in enumerate(channels):
        column = read.values[:, read.channels.index(name)]
        if name == "class":
            assert [CLASSES[int(code)] for code in column] == [("Cyclist", "Van")[int(code)] for code in values[:, 1]]
        else:
            np.testing.assert_array_equal(column, values[:, at])
    assert set(read.values[:, read.channels.index("alpha")]) == {-10}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: replace(t, channels=("id", *t.channels[1:])), "tracks have no track, their channels are id"),
        (lambda t: replace(t, labels={}), "no labels for the channel class"),
        (lambda t: replace(t, stamps=t.stamps + 1), "stamp 0, 1 ns, is on no frame of 100000000 ns"),
        (
            lambda t: replace(t, values=np.where(t.values == t.values[4, 3], np.nan, t.values)),
            "row . of the tracks is not finite",
        ),
        (lambda t: replace(t, labels={"class": CLASSES[:3]}), "row 0 of the tracks has class 9, labels are 0 to 2"),
    ],
)
def test_what_cannot_be_written_is_named(tmp_path, change, message):
    tracks = read_tracks(kitti.fake(tmp_path) / "label_02/0000.txt")
    with pytest.raises(DataError, match=message):
        write_tracks(tmp_path / "out.txt", change(tracks))


def test_the_real_sequences_are_read(data_root):
    root = data_root / "fusion/kitti_tracking"
    counts = read_seqmap(root / "evaluate_tracking.seqmap.val")
    assert sum(counts.values()) == 3908
    recording = read_tracking(root, "0001")
    assert len(recording.ragged["detections"]) == counts["0001"] == 447
    labelled = read_tracks(sorted((root / "label_02").glob("*.txt"))[0])
    assert set(labelled.values[:, labelled.channels.index("track")]) > {-1.0, 0.0}
