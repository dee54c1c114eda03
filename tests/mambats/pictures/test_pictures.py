from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mambats.formats.kitti import read_object, read_raw
from mambats.formats.nuscenes import read_nuscenes
from mambats.pictures import plot_lidar_on_image, plot_recording
from mambats.pictures.lanes import BINS, clock_of, lanes_of, thin
from mambats.series import Recording, Stream
from mambats_datasets.fakes import kitti, nuscenes

SECOND = 10**9


def pixels(path):
    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGB")).astype(int)


def test_a_gap_is_a_pause_of_more_than_three_periods():
    stamps = np.delete(np.arange(100) * 10_000_000, [40, 41, 42, 70, 71, 90])
    clock = clock_of(stamps)
    assert clock.rate == 100.0
    assert clock.gaps.tolist() == [[390_000_000, 430_000_000]]
    assert clock.words == ["94 stamps", "100 Hz", "1 gap, up to 0.04 s"]
    assert clock_of(stamps[:1]).words == ["1 stamp"]
    assert clock_of(stamps[:0]).words == ["0 stamps"]


def test_thinning_loses_no_spike_and_draws_no_line_across_a_gap():
    values = np.zeros(100_000)
    values[31_234], values[77_777] = 5.0, -7.0
    values[500:600] = np.nan
    stamps = np.arange(100_000) * 1000
    stamps[60_000:] += SECOND
    when, kept = thin(stamps, values, clock_of(stamps).gaps)
    assert len(kept) == 2 * BINS + 1
    assert np.nanmax(kept) == 5.0 and np.nanmin(kept) == -7.0
    assert (np.diff(when) >= 0).all()
    gap = np.flatnonzero(np.diff(when) > SECOND / 2)
    assert np.isnan(kept[gap]).all() and len(gap) == 1
    few = thin(stamps[:50], values[:50], np.zeros((0, 2), np.int64))
    np.testing.assert_array_equal(few[1], values[:50])


def test_each_unit_has_a_lane(tmp_path):
    names = [(lane.name, lane.unit, lane.channels) for lane in lanes_of(read_raw(kitti.fake_raw(tmp_path)))]
    assert names[:2] == [("imu", "rad/s", ("wx", "wy", "wz")), ("imu", "m/s^2", ("ax", "ay", "az"))]
    assert ("lidar", "rows", ("rows",)) in names and ("camera_2", "", ()) in names
    assert names[-1] == ("truth: pose", "", ("qx", "qy", "qz", "qw"))


def test_a_recording_is_drawn_with_its_gaps(tmp_path):
    recording = read_raw(kitti.fake_raw(tmp_path, lost=(3, 4, 5)))
    image = pixels(plot_recording(recording, tmp_path / "deep/recording.png"))
    shade = np.abs(image - (0xF4, 0xB6, 0xA6)).sum(2) < 6
    assert shade.sum() > 500  # the sweeps that are lost
    whole = read_raw(kitti.fake_raw(tmp_path / "whole", lost=()))
    image = pixels(plot_recording(whole, tmp_path / "whole.png"))
    assert not (np.abs(image - (0xF4, 0xB6, 0xA6)).sum(2) < 6).any()


def test_unmeasured_values_are_counted(tmp_path):
    observed = np.ones((10, 2), dtype=bool)
    observed[3:8, 1] = False
    values = np.where(observed, 1.0, np.nan)
    stream = Stream(np.arange(10) * SECOND, values, ("a", "b"), observed)
    [lane] = lanes_of(Recording("x", {"target": stream}))
    assert lane.lost == ["25% of values absent"]
    plot_recording(Recording("x", {"target": stream}), tmp_path / "x.png")


def test_nothing_to_draw_is_said():
    with pytest.raises(ValueError, match="x: has no stream with a stamp"):
        plot_recording(Recording("x", {}), "x.png")


def test_points_are_drawn_where_the_boxes_are(tmp_path):
    recording = read_object(kitti.fake_object(tmp_path), "000000")
    ragged = {name: stream for name, stream in recording.ragged.items() if name != "labels"}
    image = pixels(plot_lidar_on_image(replace(recording, ragged=ragged), tmp_path / "l.png"))
    boxed = pixels(plot_lidar_on_image(recording, tmp_path / "b.png", boxes="labels"))
    assert image.shape == boxed.shape
    white = (boxed - image).sum(2) > 300
    rows, columns = np.flatnonzero(white.any(1)), np.flatnonzero(white.any(0))
    colour = np.ptp(image, axis=2) > 60
    inside = colour[rows[0] : rows[-1], columns[0] : columns[-1]].mean()
    assert inside > 2 * colour[: rows[0]].mean()


def test_the_motion_of_the_body_is_taken_out(tmp_path):
    recording = read_nuscenes(nuscenes.fake(tmp_path))
    look = {"camera": "camera_front_right"}
    still = plot_lidar_on_image(recording, tmp_path / "a.png", **look)
    moved = plot_lidar_on_image(recording, tmp_path / "b.png", **look, body="base_link")
    assert (pixels(still) != pixels(moved)).any()


@pytest.mark.parametrize(
    ("change", "look", "message"),
    [
        ({}, {"camera": "camera_9"}, "no pictures named 'camera_9', it has camera_2"),
        ({}, {"lidar": "radar"}, "no sweeps named 'radar', it has lidar, labels"),
        ({}, {"boxes": "cars"}, "no boxes named 'cars'"),
        ({}, {"body": "lidar"}, "has no pose to move points with"),
        ({"images": {}}, {}, "no pictures named ''"),
    ],
)
def test_what_is_missing_is_named(tmp_path, change, look, message):
    recording = replace(read_object(kitti.fake_object(tmp_path), "000000"), **change)
    with pytest.raises(ValueError, match=message):
        plot_lidar_on_image(recording, tmp_path / "x.png", **look)


def test_a_camera_without_intrinsics_or_frame_is_named(tmp_path):
    recording = read_object(kitti.fake_object(tmp_path), "000000")
    camera = recording.images["camera_2"]
    bare = replace(recording, images={"camera_2": replace(camera, intrinsics=None)})
    with pytest.raises(ValueError, match="camera_2: has no intrinsics"):
        plot_lidar_on_image(bare, tmp_path / "x.png")
    lost = replace(recording, images={"camera_2": replace(camera, frame="nowhere")})
    with pytest.raises(ValueError, match="no frame 'nowhere'"):
        plot_lidar_on_image(lost, tmp_path / "x.png")


def test_the_real_frames_are_drawn(data_root, tmp_path):
    frame = read_object(data_root / "fusion/kitti_frame", "000001")
    assert pixels(plot_lidar_on_image(frame, tmp_path / "k.png", boxes="labels")).shape[1] > 1000
    [path] = (data_root / "fusion/nuscenes_frame").glob("*.pkl")
    plot_lidar_on_image(read_nuscenes(path), tmp_path / "n.png", camera="camera_front", body="base_link")
