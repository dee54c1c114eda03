import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mambats.preprocess.imu import ImuCalibration, ImuIntrinsics, NotEnoughMotionError, StillDetector
from mambats.series import Stream

RATE = 50.0
CHANNELS = ("wx", "wy", "wz", "ax", "ay", "az")
UP = np.array([0, 0, 9.81])


def wrong(rng):
    """A sensor with errors of a cheap one; its accelerometer's x axis is the body's."""
    return ImuIntrinsics(
        np.eye(3) + rng.normal(size=(3, 3)) * 0.02,
        rng.normal(size=3) * 0.01,
        np.eye(3) + np.tril(rng.normal(size=(3, 3)) * 0.02),
        rng.normal(size=3) * 0.2,
    )


def tumble(seed=0, poses=20, axes=None):
    """Two seconds still, one of turning about an axis (any, or in turn the given), and again."""
    rng = np.random.default_rng(seed)
    truth, turn = wrong(rng), Rotation.random(random_state=rng) if axes is None else Rotation.identity()
    rates, turns = [], []
    for k in range(poses):
        axis = rng.normal(size=3) if axes is None else np.array(axes[k % len(axes)])
        shape = 1 - np.cos(2 * np.pi * (np.arange(RATE) + 0.5) / RATE)
        angles = np.concatenate([np.zeros(int(2 * RATE)), shape * rng.uniform(0.8, 2.5) / RATE])
        steps = angles[:, None] * axis / np.linalg.norm(axis)
        rates.append(steps * RATE)
        for step in Rotation.from_rotvec(steps):
            turns.append(turn.as_quat())
            turn = turn * step
    true = np.concatenate([np.concatenate(rates), Rotation.from_quat(turns).inv().apply(UP)], 1)
    raw = truth.inverse(true) + rng.normal(size=true.shape) * ([2e-3] * 3 + [2e-2] * 3)
    return Stream(np.arange(len(raw)) * round(1e9 / RATE), raw, CHANNELS), truth, true


def test_finds_what_is_wrong_within_its_deviations():
    stream, truth, true = tumble()
    fit = ImuCalibration()(stream)
    assert len(fit.poses) == 20
    for name, deviation in fit.deviations.items():
        error = getattr(fit.intrinsics, name) - getattr(truth, name)
        seen = deviation > 0
        assert np.sqrt(np.mean((error[seen] / deviation[seen]) ** 2)) < 2, name
        assert np.abs(error[~seen]).max(initial=0) == 0
    corrected = fit.intrinsics.correct_stream(stream)
    assert np.abs((corrected.values - true)[:, :3].mean(0)).max() < 2e-4
    assert np.abs((corrected.values - true)[:, 3:].mean(0)).max() < 5e-3
    assert 1e-4 < fit.gravity_residual < 5e-3 and fit.turn_residual < 2e-3


def test_still_intervals_are_the_still_ones():
    stream, _, _ = tumble(3)
    found = StillDetector()(stream.values, RATE)
    assert len(found) == 20
    for k, part in enumerate(found):
        assert k * 150 <= part.start < part.stop <= k * 150 + 110
        assert part.stop - part.start > 60
    assert StillDetector()(stream.values[:3], RATE) == []


@pytest.mark.parametrize(
    ("poses", "axes", "message"),
    [
        (5, None, "5 still poses .* were found, needed 9"),
        (12, [(0, 0, 1)], "the poses leave accelerometer"),
        (12, [(1, 0, 0)], "the poses leave accelerometer"),
    ],
)
def test_too_little_motion_is_named(poses, axes, message):
    with pytest.raises(NotEnoughMotionError, match=message):
        ImuCalibration()(tumble(1, poses, axes)[0])


def test_gyro_turns_about_one_axis_are_named():
    stream, _, _ = tumble(1, 20)
    values = stream.values.copy()
    values[:, 1:3] = values[:, 1:3].mean(0) + np.random.default_rng(0).normal(size=(len(values), 2)) * 2e-3
    with pytest.raises(NotEnoughMotionError, match="turns between poses leave gyroscope matrix"):
        ImuCalibration()(Stream(stream.stamps, values, CHANNELS))


def test_apply_and_its_inverse_row_by_row_and_batched():
    truth, rows = wrong(np.random.default_rng(0)), np.random.default_rng(1).normal(size=(2, 7, 6)) * 10
    assert np.abs(truth.inverse(truth(rows)) - rows).max() < 1e-12
    assert np.abs(truth(rows)[1, 3] - truth(rows[1, 3])).max() < 1e-13
    assert (ImuIntrinsics.none()(rows) == rows).all()


def test_refusals():
    stream, _, _ = tumble(0, 9)
    values = stream.values.copy()
    values[7, 2] = np.nan
    with pytest.raises(ValueError, match="row 7"):
        ImuCalibration()(Stream(stream.stamps, values, CHANNELS))
    with pytest.raises(ValueError, match="az missing"):
        ImuCalibration()(Stream(stream.stamps, stream.values[:, :5], CHANNELS[:5]))
    with pytest.raises(ValueError, match="cannot be inverted"):
        ImuIntrinsics(np.zeros((3, 3)), np.zeros(3), np.eye(3), np.zeros(3))
    with pytest.raises(ValueError, match=r"needed \(..., 6\)"):
        ImuIntrinsics.none()(np.zeros((2, 3)))
