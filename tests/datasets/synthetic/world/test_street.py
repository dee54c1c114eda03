"""Whole drives: what a recording holds, seeds, clocks, and agreement with the robots' own sensors."""

import numpy as np
import pytest
import torch

from mambats.formats.error import DataError
from mambats_datasets.synthetic.clock import Timing
from mambats_datasets.synthetic.robot import START, SimulatedRobots
from mambats_datasets.synthetic.world import LABELS, Camera, Detector, Landmarks, Layout, Lidar, StreetWorlds

TINY = {
    "layout": Layout(objects=8, structures=12),
    "lidar": Lidar(rings=4, columns=40, timing=Timing(5.0, offset=0.25, drift=50.0, dropout=0.3)),
    "camera": Camera(width=24, height=16, timing=Timing(4.0)),
    "detector": Detector(timing=Timing(10.0, latency=0.05)),
    "landmarks": Landmarks(count=20),
}


def worlds(series=1, seed=0, **changed):
    return StreetWorlds(SimulatedRobots("car", series=series, duration=3.0, seed=seed), **{**TINY, **changed})


@pytest.fixture(scope="module")
def recording():
    return worlds().recordings()[0]


def test_a_recording_holds_all_sensors_and_the_truth(recording):
    assert set(recording.streams) == {"imu", "gnss", "wheel"}
    truth = {"labels", "labels_2d", "lidar_labels", "origins", "origins_2d", "landmark_map"}
    assert set(recording.ragged) == {"lidar", "detections", "detections_2d", "landmarks", *truth}
    assert set(recording.images) == {"camera"}
    assert recording.images["camera"].image(0).shape == (16, 24, 3)
    assert recording.ragged["labels"].labels["class"] == LABELS
    assert recording.frames.transform("base_link", "camera").shape == (4, 4)
    assert recording.ragged["lidar"].frame == "lidar"
    assert recording.ragged["landmark_map"].frame == "map"
    lidar, hit = recording.ragged["lidar"], recording.ragged["lidar_labels"]
    assert lidar.splits.tolist() == hit.splits.tolist()
    assert lidar.channels == ("x", "y", "z", "intensity", "ring", "t")
    assert (recording.ragged["detections"].splits == recording.ragged["origins"].splits).all()


def test_clocks_are_off_as_said_and_lost_sweeps_are_gone(recording):
    lidar = recording.ragged["lidar"]
    assert 0 < len(lidar) < 15
    seconds = (lidar.stamps - START) / 1e9 - 0.25
    assert np.allclose(seconds * 5, np.rint(seconds * 5), atol=1e-6), "regular on its own clock"
    assert recording.static["lidar_offset"] == 0.25
    detections = recording.ragged["detections"]
    assert detections.stamps[0] - START == 50_000_000
    assert len(detections) == 30


def test_labels_stand_still_or_move_in_the_map(recording):
    labels, pose = recording.ragged["labels"], recording.truth["pose"]
    from scipy.spatial.transform import Rotation

    mount, seen = recording.frames.transform("base_link", "lidar"), dict[int, list[np.ndarray]]()
    for row, stamp in enumerate(labels.stamps):
        at = np.searchsorted(pose.stamps, stamp - 50_000_000)
        body = np.eye(4)
        body[:3, :3], body[:3, 3] = Rotation.from_quat(pose.values[at, 3:]).as_matrix(), pose.values[at, :3]
        for box in labels.table(row):
            place = body @ mount @ [*box[:3], 1.0]
            velocity = (body @ mount)[:3, :3] @ box[7:10]
            seen.setdefault(int(box[10]), []).append(np.array([row / 10, *place[:3], *velocity]))
    assert len(seen) > 2
    for track in seen.values():
        rows = np.array(track)
        step = np.diff(rows[:, 0])
        moved = np.diff(rows[:, 1:4], axis=0)
        mean = (rows[1:, 4:] + rows[:-1, 4:]) / 2
        assert np.abs(moved - mean * step[:, None])[step < 0.15].max(initial=0) < 0.02


def test_the_drive_is_that_of_the_robots_alone(recording):
    alone = SimulatedRobots("car", series=1, duration=3.0).recordings()[0]
    assert (recording.streams["imu"].values == alone.streams["imu"].values).all()
    key = int(np.random.SeedSequence([0, 0]).generate_state(1, np.uint64)[0])
    drives = worlds(sensors=()).batch(1, torch.Generator().manual_seed(key))
    t = torch.from_numpy((alone.truth["pose"].stamps - START) / 1e9)[None]
    torch.testing.assert_close(drives.ego(t).position[0], torch.from_numpy(alone.truth["pose"].values[:, :3]))


def test_same_seed_same_bits_and_a_longer_list_begins_alike(recording):
    again, second = worlds(series=2).recordings()
    for name, stream in recording.ragged.items():
        assert (stream.values == again.ragged[name].values).all()
    assert np.array_equal(recording.images["camera"].pictures, again.images["camera"].pictures)
    assert second.name != again.name
    assert not np.array_equal(second.ragged["labels"].values, again.ragged["labels"].values)


def test_a_batch_is_tensors_with_scenes_first():
    drives = worlds().batch(3, torch.Generator().manual_seed(0))
    assert drives.sweep.points.shape == (3, drives.ticks["lidar"].time.shape[1], 160, 3)
    assert drives.picture.image.shape == (3, 12, 16, 24, 3)
    assert drives.detections.box.shape[:2] == (3, 30)
    assert drives.targets.box.shape == (3, 30, 8, 7)
    assert drives.outlines.sides.shape == (3, 12, 8, 4)
    assert drives.sightings.pixel.shape == (3, 12, 20, 2)
    assert {len(t.present) for t in drives.ticks.values()} == {3}


@pytest.mark.parametrize("sensor", ["lidar", "camera", "detections", "landmarks"])
def test_each_sensor_alone(sensor):
    made = worlds(sensors=[sensor]).recordings()[0]
    assert (sensor in made.ragged) or (sensor in made.images)
    others = {"lidar", "detections", "landmarks"} - {sensor}
    assert not others & set(made.ragged)


def test_wrong_names_are_refused():
    with pytest.raises(DataError, match="radar"):
        StreetWorlds(sensors=["radar"])
    with pytest.raises(DataError, match="hand"):
        StreetWorlds(SimulatedRobots("hand"))
    with pytest.raises(ValueError, match="structures 0"):
        Layout(structures=0)


@pytest.mark.gpu
def test_worlds_on_a_gpu_are_those_of_the_cpu(drawn):
    scene, ego, _ = drawn
    lidar, begins = Lidar(rings=16, columns=100), torch.tensor([[0.5, 2.0]] * 2, dtype=torch.float64)
    rays = lidar.rays(ego, begins, torch.float64)
    from mambats_datasets.synthetic.world import Rays, cast

    parts = (rays.origin, rays.direction, rays.across, rays.time)
    here, there = cast(scene, rays, 100.0), cast(scene.to("cuda"), Rays(*(p.cuda() for p in parts)), 100.0)
    torch.testing.assert_close(there.reach.cpu(), here.reach, rtol=0, atol=1e-8)
    assert there.object.cpu().equal(here.object)


@pytest.mark.gpu
def test_whole_drives_on_a_gpu_and_the_same_bits_again():
    first, again = (worlds().batch(3, torch.Generator("cuda").manual_seed(5)) for _ in range(2))
    assert first.sweep.points.device.type == "cuda"
    for name in ("sweep", "picture", "outlines", "detections", "detections_2d", "sightings"):
        pairs = zip(getattr(first, name), getattr(again, name), strict=True)
        assert all(a.equal(b) for a, b in pairs), name


@pytest.mark.gpu
def test_rounded_matrix_products_do_not_bend_rays(drawn):
    _, ego, _ = drawn
    t = torch.tensor([[0.5, 2.0]] * 2, dtype=torch.float64)
    exact, before = Lidar().rays(ego, t, torch.float64).direction, torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        bent = Lidar().rays(Moved(ego), t.cuda()).direction.cpu()
    finally:
        torch.set_float32_matmul_precision(before)
    assert (bent - exact).abs().max() < 1e-6


class Moved:
    """A trajectory of the CPU, asked from a GPU."""

    def __init__(self, ego):
        self.ego, self.batch, self.duration = ego, ego.batch, ego.duration

    def __call__(self, t):
        return self.ego(t.cpu()).to(t.device)
