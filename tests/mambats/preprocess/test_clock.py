import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mambats.preprocess import CannotTellError, ClockAlignment, ClockFit
from mambats.series import Stream

EPOCH = 1_403_636_579_758_555_392
RATES = ("wx", "wy", "wz")


def turning(seed):
    """Smooth random angular rates, as a function of seconds."""
    rng = np.random.default_rng(seed)
    waves = rng.uniform(0.05, 1.5, (30, 3)), rng.uniform(0, 7, (30, 3)), rng.normal(size=(30, 3)) * 0.15
    return lambda time: sum(a * np.sin(2 * np.pi * f * time[:, None] + p) for f, p, a in zip(*waves, strict=True))


def rows(seconds, values, channels=RATES):
    return Stream(EPOCH + np.rint(seconds * 1e9).astype(np.int64), values, channels)


def pair(seed, offset, drift, seconds=60.0, noise=0.01):
    """Two sensors on one body, mounted differently, one with a bias; the second clock is late and fast."""
    rng, rates = np.random.default_rng(seed), turning(seed)
    first, second = np.arange(0, seconds, 1 / 200), np.arange(1, seconds - 1, 1 / 90)
    one = rows(first, rates(first) + noise * rng.normal(size=(len(first), 3)))
    seen = Rotation.random(random_state=rng).apply(rates(second)) + np.array([0.05, -0.03, 0.08])
    other = rows(second + offset + drift * second, seen + noise * rng.normal(size=(len(second), 3)))
    return one, other


def zeroed(fit, offset):
    """The fit at the moment that the injected drift starts from."""
    return fit.at(EPOCH + round(offset * 1e9))


def test_offset_and_drift_within_their_error_bars():
    inside = []
    for seed in range(6):
        offset, drift = np.random.default_rng(seed).uniform(-1, 1, 2) * [0.2, 2e-4]
        fit = zeroed(ClockAlignment()(*pair(seed, offset, drift)), offset)
        assert abs(fit.offset - offset) < 1e-3
        assert abs(fit.drift - drift) < 2e-5
        inside += [abs(fit.offset - offset) < 2.6 * fit.offset_deviation]
        inside += [abs(fit.drift - drift) < 2.6 * fit.drift_deviation]
        assert fit.offset_deviation < 1e-3
    assert all(inside)


def test_a_pose_serves_as_well():
    time = np.arange(0, 45, 0.005)
    turn, turns = Rotation.identity(), []
    rates = turning(3)(time)
    for step in Rotation.from_rotvec(rates[::4] * 0.02):
        turn = turn * step
        turns.append(turn.as_quat())
    # A turn is complete when the next row comes, so rates[k] is between poses k and k + 1.
    pose = rows(time[::4] + 0.02, np.array(turns), ("qx", "qy", "qz", "qw"))
    fit = zeroed(ClockAlignment()(pose, rows(time + 0.0373, rates)), 0.0373)
    assert abs(fit.offset - 0.0373 + 0.01) < 2e-3  # the pose holds rates of 20 ms, half of that early


def test_correction_and_its_inverse():
    fit = ClockFit(EPOCH, 0.0373, 1e-4, np.eye(2), (1, 1), 1.0)
    true = EPOCH + np.arange(0, 10**12, 10**9 + 7)
    late = true + np.rint(0.0373e9 + 1e-4 * (true - EPOCH)).astype(np.int64)
    assert (
        np.abs(
            ClockFit(EPOCH + 37_300_000, 0.0373, 1e-4 / (1 + 1e-4), np.eye(2), (1, 1), 1.0).correct(late) - true
        ).max()
        <= 1
    )
    assert np.abs(fit.inverse(fit.correct(late)) - late).max() <= 1
    stream = Stream(late, np.zeros((len(late), 1)), ("x",))
    assert (fit.correct_stream(stream).stamps == fit.correct(late)).all()


@given(st.integers(-(10**9), 10**9), st.floats(-1e-3, 1e-3), st.integers(-(10**14), 10**14))
def test_inverse_for_any_fit(offset, drift, ahead):
    fit = ClockFit(EPOCH, offset * 1e-9, drift, np.eye(2), (1, 1), 1.0)
    stamps = EPOCH + ahead + np.arange(5) * 12_345
    assert np.abs(fit.inverse(fit.correct(stamps)) - stamps).max() <= 1 + abs(ahead) * 1e-15


def test_error_bars_move_with_the_stamp():
    fit = ClockFit(EPOCH, 0.0, 1e-5, np.diag([1e-8, 1e-12]), (5, 5), 1.0)
    far = fit.at(EPOCH + 10**11)
    assert far.offset == pytest.approx(1e-3)
    assert far.offset_deviation == pytest.approx((1e-8 + 1e-8) ** 0.5)
    assert far.at(EPOCH).covariance == pytest.approx(fit.covariance)


def refusal(case):
    time, rng = np.arange(0, 60, 0.01), np.random.default_rng(0)
    noise = 0.002 * rng.normal(size=(2, len(time), 3))
    swing = np.stack([np.sin(2 * np.pi * 2 * time) + 1.5, 0 * time, 0 * time], 1)
    return {
        "three windows": (rows(time[:900], turning(0)(time[:900])),) * 2,
        "turn": (rows(time, noise[0]), rows(time, noise[1])),
        "correlate above": (rows(time, turning(0)(time)), rows(time, turning(1)(time))),
        "repeats": (rows(time, swing + noise[0]), rows(time, swing + noise[1])),
        "end of the search": (rows(time, turning(0)(time)), rows(time + 1.0, turning(0)(time))),
        "share 0.0 s": (rows(time, turning(0)(time)), rows(time + 500, turning(0)(time))),
        "rows observed": (rows(time[:1], noise[0, :1]), rows(time, noise[1])),
    }[case]


@pytest.mark.parametrize(
    "case", ["three windows", "turn", "correlate above", "repeats", "share 0.0 s", "rows observed"]
)
def test_it_says_when_it_cannot_tell(case):
    with pytest.raises(CannotTellError, match=case):
        ClockAlignment()(*refusal(case))


def test_the_end_of_the_search_is_no_answer():
    with pytest.raises(CannotTellError):
        ClockAlignment(largest=0.3)(*refusal("end of the search"))


def test_an_offset_that_is_not_precise_enough_is_none():
    with pytest.raises(CannotTellError, match="known to .* ms only"):
        ClockAlignment(tolerance=1e-7)(*pair(0, 0.01, 0.0))


def test_channels_are_named():
    with pytest.raises(ValueError, match="need angular rates wx wy wz or a quaternion"):
        ClockAlignment()(rows(np.arange(5.0), np.zeros((5, 1)), ("x",)), rows(np.arange(5.0), np.zeros((5, 3))))
    with pytest.raises(ValueError, match="window is 0"):
        ClockAlignment(window=0)


def test_a_gap_and_a_burst_of_nonsense_do_not_move_it():
    one, other = pair(1, 0.05, 0.0, 80.0)
    values = other.values.copy()
    values[2000:2300] = np.random.default_rng(0).normal(size=(300, 3)) * 3
    kept = np.r_[0:800, 1000 : len(values)]
    fit = zeroed(ClockAlignment(window=5)(one, Stream(other.stamps[kept], values[kept], RATES)), 0.05)
    assert abs(fit.offset - 0.05) < 1e-3
    assert fit.windows[0] < fit.windows[1] < 15


@pytest.mark.slow
def test_euroc(data_root):
    from mambats.formats import read_euroc

    folder = data_root / "fusion" / "euroc" / "MH_01_easy"
    if not folder.exists():
        pytest.skip(f"{folder} is not there")
    held = read_euroc(folder)
    imu, pose = held.streams["imu"], held.truth["pose"]
    seconds = (imu.stamps - imu.stamps[0]) * 1e-9
    time = np.arange(0.1, seconds[-1] - 0.1, 1 / 170)
    values = np.stack([np.interp(time, seconds, column) for column in imu.values[:, :3].T], 1)
    late = Stream(imu.stamps[0] + np.rint((time * (1 + 1e-4) + 0.0373) * 1e9).astype(np.int64), values, RATES)
    fit = ClockAlignment()(pose, late).at(int(imu.stamps[0]) + 37_300_000)
    assert abs(fit.offset - 0.0373) < 1e-3
    assert abs(fit.drift - 1e-4) < 1e-5
