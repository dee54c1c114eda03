"""A simulated recording goes through the doors that real ones go through: store, de-skew, pictures."""

import numpy as np
import pytest
import torch

from mambats.formats.store import open_recording, save_recording
from mambats.pictures import plot_lidar_on_image
from mambats.preprocess.lidar import Deskew
from mambats.preprocess.transform import PoseTrack
from mambats.series import RaggedStream
from mambats_datasets.synthetic.clock import Timing
from mambats_datasets.synthetic.robot import START, SimulatedRobots
from mambats_datasets.synthetic.world import EARTH, Camera, Layout, Lidar, StreetWorlds


@pytest.fixture(scope="module")
def recording():
    lidar = Lidar(rings=16, columns=120, noise=0.0, dropout=0.0)
    camera = Camera(width=48, height=32, timing=Timing(5.0))
    robots = SimulatedRobots("car", series=1, duration=2.0)
    return StreetWorlds(robots, Layout(objects=6, structures=24), lidar, camera).recordings()[0]


def some(sweeps, first, last):
    splits = sweeps.splits[first : last + 1]
    values = sweeps.values[splits[0] : splits[-1]]
    return RaggedStream(sweeps.stamps[first:last], splits - splits[0], values, sweeps.channels, frame=sweeps.frame)


def test_deskew_puts_standing_points_back_on_the_ground(recording):
    sweeps, hit = some(recording.ragged["lidar"], 2, 6), some(recording.ragged["lidar_labels"], 2, 6)
    track = PoseTrack(recording.truth["pose"], recording.frames.transform("base_link", "lidar"))
    still = Deskew().ragged(sweeps, track)
    key = int(np.random.SeedSequence([0, 0]).generate_state(1, np.uint64)[0])
    scene = StreetWorlds(SimulatedRobots("car", duration=2.0), Layout(6, 24), sensors=())
    level = float(scene.batch(1, torch.Generator().manual_seed(key)).scene.ground.level)
    errors = []
    for stream in (still, sweeps):
        heights = []
        for row, stamp in enumerate(stream.stamps):
            table = stream.table(row)[hit.table(row)[:, 0] == EARTH, :3]
            at = track.at(np.array([stamp]))[0].numpy()
            heights.append(np.abs((table @ at[:3, :3].T + at[:3, 3])[:, 2] - level))
        errors.append(np.concatenate(heights).max())
    assert errors[0] < 1e-3
    assert errors[1] > 0.02, "the sweep was not distorted"


def test_save_and_open_keep_every_number(recording, tmp_path):
    again = open_recording(save_recording(recording, tmp_path / "street"))
    for name, stream in recording.ragged.items():
        assert np.array_equal(again.ragged[name].values, stream.values)
        assert again.ragged[name].labels == dict(stream.labels)
    assert np.array_equal(again.images["camera"].image(3), recording.images["camera"].image(3))
    assert again.frames == recording.frames


def test_points_and_boxes_are_drawn_on_the_picture(recording, tmp_path):
    assert plot_lidar_on_image(recording, tmp_path / "street.png").stat().st_size > 10_000
    assert recording.ragged["lidar"].stamps[0] == START
