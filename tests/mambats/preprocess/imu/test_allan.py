import numpy as np
import pytest

from mambats.preprocess.imu import allan_variance, draw_allan, fit_allan

RATE = 100.0


def noise(seed, rows, density, instability=0.0, walk=0.0):
    """White noise, flicker (drawn in the frequency domain) and a random walk."""
    rng = np.random.default_rng(seed)
    made = density * np.sqrt(RATE) * rng.normal(size=rows) + np.cumsum(walk / np.sqrt(RATE) * rng.normal(size=rows))
    frequency = np.fft.rfftfreq(2 * rows, 1 / RATE)
    power = np.zeros_like(frequency)
    power[1:] = instability**2 / (2 * np.pi * frequency[1:])
    drawn = (rng.normal(size=(2, len(frequency))) * [[1], [1j]]).sum(0) / np.sqrt(2)
    return made + np.fft.irfft(drawn * np.sqrt(power * RATE * 2 * rows))[:rows]


def by_definition(values, size):
    means = np.array([values[k : k + size].mean() for k in range(len(values) - size + 1)])
    return np.mean((means[size:] - means[:-size]) ** 2) / 2


def test_variance_is_its_definition():
    values = noise(0, 400, 1e-2, walk=1e-2)
    taus, variances = allan_variance(values, RATE, points=12)
    for tau, variance in zip(taus, variances, strict=True):
        assert variance == pytest.approx(by_definition(values, round(tau * RATE)), rel=1e-9)
    both = allan_variance(np.stack([values, 2 * values]), RATE, points=12)[1]
    assert both[1] == pytest.approx(4 * variances)


@pytest.mark.parametrize("truth", [(1e-3, 0, 0), (1e-3, 0, 3e-4), (1e-3, 5e-4, 1e-5)])
def test_terms_lie_in_their_intervals(truth):
    inside = []
    for seed in range(8):
        fit = fit_allan(noise(seed, 20_000, *truth), RATE)
        inside.append([low <= true <= high for true, (low, high) in zip(truth, fit.intervals, strict=True)])
        assert fit.density == pytest.approx(truth[0], rel=0.03)
    assert np.mean(inside) > 0.8  # 95 % each
    if not truth[2]:
        assert fit.intervals[2, 0] == 0  # and it says that there is none


def test_spread_is_that_of_many_records():
    fits = [fit_allan(noise(seed, 3000, 1e-3, walk=1e-3), RATE, points=12) for seed in range(40)]
    curves, spread = np.array([fit.deviation for fit in fits]), np.mean([fit.spread for fit in fits], 0)
    ratio = curves.std(0) / spread
    assert 0.6 < ratio.min() and ratio.max() < 1.5


def test_picture(tmp_path):
    pytest.importorskip("matplotlib")
    fits = {name: fit_allan(noise(k, 5_000, 1e-3, 3e-4), RATE) for k, name in enumerate(("wx", "wy"))}
    path = draw_allan(fits, tmp_path / "allan.png", title="simulated")
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="no fit"):
        draw_allan({}, tmp_path / "none.png")


def test_refusals():
    with pytest.raises(ValueError, match="need 16"):
        allan_variance(np.zeros(5), RATE)
    with pytest.raises(ValueError, match="row 20"):
        allan_variance(np.r_[np.zeros(20), np.nan, np.zeros(20)], RATE)
    with pytest.raises(ValueError, match="do not vary"):
        fit_allan(np.ones(100), RATE)
    with pytest.raises(ValueError, match="one channel"):
        fit_allan(np.ones((2, 100)), RATE)
