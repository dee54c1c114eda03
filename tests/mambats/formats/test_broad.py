import numpy as np
import pytest
from scipy.io import loadmat, savemat

from mambats.formats import DataError
from mambats.formats.broad import read_broad
from mambats.formats.repair import Policy
from mambats_datasets.fakes.body import rocking
from mambats_datasets.fakes.broad import RATE, fake


@pytest.fixture
def trial(tmp_path):
    return fake(tmp_path)


def change(path, **new):
    held = {name: value for name, value in loadmat(path).items() if not name.startswith("_")} | new
    savemat(path, {name: value for name, value in held.items() if value is not None})


def test_a_trial_is_read(trial):
    body = rocking(600, RATE)
    recording = read_broad(trial)
    imu, pose = recording.streams["imu"], recording.truth["pose"]
    assert recording.static == {"rate": pytest.approx(2000 / 7)}
    assert imu.stamps[[0, 1, 2, 400]].tolist() == [0, 3_500_000, 7_000_000, 1_400_000_000]
    np.testing.assert_array_equal(imu.values, np.hstack((body.rate, body.force)))
    np.testing.assert_array_equal(recording.streams["magnetometer"].values, body.field)
    assert recording.streams["magnetometer"].unit == "uT"
    assert np.flatnonzero(~pose.observed.all(axis=1)).tolist() == list(range(100, 112))
    np.testing.assert_array_equal(pose.values[:100, 3:], body.quaternion[:100])
    assert recording.truth["movement"].values.sum() == 300
    [line] = recording.repairs
    assert "12 of 600 rows" in line
    assert line.endswith("12 rows from row 100")


def test_another_order_and_other_units_are_seen(trial):
    held = loadmat(trial)
    change(trial, opt_quat=np.roll(held["opt_quat"], -1, axis=1))
    with pytest.raises(DataError, match="opt_quat: as read.*taken as 'scalar last"):
        read_broad(trial)
    change(trial, opt_quat=held["opt_quat"] * (1, -1, -1, -1))
    with pytest.raises(DataError, match="taken as 'world to body'"):
        read_broad(trial)
    change(trial, opt_quat=held["opt_quat"], imu_acc=held["imu_acc"] / 9.81)
    with pytest.raises(DataError, match="one gravity in g"):
        read_broad(trial)
    read_broad(trial, Policy(units="trust"))


def test_damaged_files_are_named(trial, tmp_path):
    with pytest.raises(DataError, match=r"none.mat: no such file"):
        read_broad(tmp_path / "none.mat")
    whole = trial.read_bytes()
    for size in (len(whole) // 2, 100, 0):
        trial.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"translation_A.mat: (not a readable .mat|variables)"):
            read_broad(trial)
    trial.write_bytes(whole)
    change(trial, opt_pos=np.zeros((3, 3)))
    with pytest.raises(DataError, match=r"opt_pos has shape \(3, 3\), needed \(600, 3\)"):
        read_broad(trial)
    change(trial, opt_pos=None)
    with pytest.raises(DataError, match="variables opt_pos are missing"):
        read_broad(trial)


def test_real_trials_point_up_while_they_move(data_root):
    from scipy.spatial.transform import Rotation

    paths = sorted((data_root / "fusion/broad").glob("*.mat"))
    assert paths
    for path in paths:
        recording = read_broad(path)
        imu, pose = recording.streams["imu"], recording.truth["pose"]
        seen = pose.observed.all(axis=1)
        assert 0.98 < seen.mean() <= 1
        up = Rotation.from_quat(pose.values[seen, 3:]).apply(imu.values[seen, 3:]).mean(axis=0)
        np.testing.assert_allclose(up, (0, 0, 9.85), atol=0.1)
        assert 0.2 < recording.truth["movement"].values.mean() < 1
