"""Filters: the same numbers whole, in chunks and row by row; scipy's numbers where scipy has them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal

from mambats.preprocess.carried import Carried, OfflineOnlyError
from mambats.preprocess.signal import (
    BandFilter,
    Derivative,
    Exponential,
    MovingAverage,
    Notch,
    OnStream,
    RunningMedian,
    SavitzkyGolay,
    Sections,
    ZeroPhase,
)
from mambats.series import Stream

RATE = 100.0
FILTERS = {
    "butterworth": BandFilter(10.0, RATE, order=4),
    "high": BandFilter(5.0, RATE, "highpass", order=3),
    "band": BandFilter([5.0, 20.0], RATE, "bandpass", family="chebyshev1"),
    "stop": BandFilter([5.0, 20.0], RATE, "bandstop", family="chebyshev2"),
    "bessel": BandFilter(8.0, RATE, family="bessel", initial="rest"),
    "notch": Notch(12.0, RATE),
    "mean": MovingAverage(7),
    "mean_centred": MovingAverage(6 + 1, centred=True),
    "median": RunningMedian(5),
    "median_centred": RunningMedian(9, centred=True),
    "polynomial": SavitzkyGolay(7, 2, centred=False),
    "polynomial_centred": SavitzkyGolay(9, 3, derivative=1, rate=RATE),
    "exponential": Exponential(0.05, RATE),
    "derivative": Derivative(RATE),
}


def rows(seed, count, shape=(), absent=0.0):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((*shape, count, 3)).cumsum(-2)
    values[rng.random(values.shape) < absent] = np.nan
    return values


def in_chunks(filter: Carried, values, cuts, gaps=None):
    """Stream chunks that end at the cuts; the delay is undone as the batch form does it."""
    state, made = filter.start(values.shape[-1], values.shape[:-2]), []
    for begin, end in zip([0, *cuts], [*cuts, values.shape[-2]], strict=True):
        part = None if gaps is None else gaps[..., begin:end]
        if end - begin == 1:
            row, state = filter.step(values[..., begin, :], state, None if part is None else part[..., 0])
            made.append(row[..., None, :])
        else:
            chunk, state = filter.transform(values[..., begin:end, :], state, part)
            made.append(chunk)
    if filter.delay:
        made.append(filter.flush(state).astype(values.dtype))
    return np.concatenate(made, -2)[..., filter.delay :, :]


def agree(found, wanted):
    scale = max(1.0, float(np.nanmax(np.abs(wanted), initial=0.0)))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-10 * scale)


@pytest.mark.parametrize("name", FILTERS)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 60), max_size=8),
    st.sampled_from([0.0, 0.1, 0.9]),
    st.sampled_from([(), (2,), (0,)]),
    st.sampled_from([np.float64, np.float32]),
)
def test_any_chunks_equal_the_whole(name, seed, cuts, absent, shape, dtype):
    values = rows(seed, 60, shape, absent).astype(dtype)
    agree(in_chunks(FILTERS[name], values, sorted(cuts)), FILTERS[name](values))


@pytest.mark.parametrize("name", FILTERS)
def test_row_by_row_equals_the_whole_and_states_are_not_touched(name):
    values = rows(3, 40, absent=0.2)
    filter = FILTERS[name]
    agree(in_chunks(filter, values, list(range(1, 40))), filter(values))
    _, state = filter.transform(values[:20], filter.start(3))
    once, twice = filter.transform(values[20:], state)[0], filter.transform(values[20:], state)[0]
    np.testing.assert_array_equal(once, twice)


@pytest.mark.parametrize("name", FILTERS)
def test_absent_stays_absent_and_does_not_spread(name):
    values = rows(1, 50)
    values[20, 0] = np.nan
    values[21, 0] = np.inf
    made = FILTERS[name](values)
    assert np.isnan(made[20:22, 0]).all()
    assert np.isfinite(made[22:]).all() and np.isfinite(made[2:, 1:]).all()


@pytest.mark.parametrize("name", FILTERS)
def test_causal_filters_do_not_see_ahead(name):
    filter, values = FILTERS[name], rows(5, 40)
    changed = values.copy()
    changed[30:] += 100.0
    same = 30 - filter.delay
    np.testing.assert_array_equal(filter(values)[:same], filter(changed)[:same])


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_rows_and_float32(name, count):
    values = rows(0, count).astype(np.float32)
    made = FILTERS[name](values)
    assert made.shape == (count, 3) and made.dtype == np.float32


def test_sections_are_scipys():
    values = rows(2, 500)
    sos = signal.butter(4, 10.0, fs=RATE, output="sos")
    start = signal.sosfilt_zi(sos)[:, :, None] * values[:1]
    wanted, _ = signal.sosfilt(sos, values, axis=0, zi=start)
    agree(FILTERS["butterworth"](values), wanted)
    sos = signal.bessel(2, 8.0, norm="mag", fs=RATE, output="sos")
    agree(FILTERS["bessel"](values), signal.sosfilt(sos, values, axis=0))


def test_a_channel_starts_at_its_first_value():
    values = rows(4, 60)
    late = values.copy()
    late[:10, 1] = np.nan
    agree(FILTERS["butterworth"](late)[10:, 1:2], FILTERS["butterworth"](values[10:, 1:2]))
    agree(FILTERS["exponential"](late)[10:, 1:2], FILTERS["exponential"](values[10:, 1:2]))


@pytest.mark.parametrize("cutoff", [0.001, 0.1])
def test_slow_filters_keep_constants_and_late_starts_exactly(cutoff):
    filter = BandFilter(cutoff, RATE, order=4)
    level = filter(np.full((5000, 1), 9.81))
    assert np.ptp(level) == 0 and level[0, 0] == pytest.approx(9.81, abs=1e-5)  # of the rounded coefficients
    values = rows(10, 3000) + 1000.0
    late = np.concatenate([np.full((500, 3), np.nan), values])
    np.testing.assert_array_equal(filter(late)[500:], filter(values))


def test_gains_at_the_cutoff_and_in_the_notch():
    time = np.arange(4000) / RATE
    for filter, hertz, gain in (
        (BandFilter(10.0, RATE), 10.0, 10 ** (-3.0103 / 20)),
        (BandFilter(10.0, RATE, family="bessel"), 10.0, 10 ** (-3.0103 / 20)),
        (BandFilter(10.0, RATE, family="chebyshev1", ripple=2.0), 10.0, 10 ** (-2 / 20)),
        (Notch(12.0, RATE), 12.0, 0.0),
        (Notch(12.0, RATE), 30.0, 1.0),
    ):
        made = filter(np.sin(2 * np.pi * hertz * time)[:, None])[2000:]
        assert np.sqrt(2 * np.mean(made**2)) == pytest.approx(gain, abs=2e-3)


def test_zero_phase_is_scipys_and_refuses_to_stream():
    values = rows(6, 300)
    filter = ZeroPhase(FILTERS["butterworth"])
    agree(filter(values), signal.sosfiltfilt(signal.butter(4, 10.0, fs=RATE, output="sos"), values, axis=0))
    with pytest.raises(OfflineOnlyError, match="ZeroPhase reads the whole sequence backwards"):
        filter.start(3)
    with pytest.raises(OfflineOnlyError, match=r"SavitzkyGolay\(centred=True\)"):
        filter.step(values[0], None)
    values[:5, 0] = np.nan
    assert np.isnan(filter(values)[:5, 0]).all() and np.isfinite(filter(values)[5:]).all()


def test_windows_equal_loops():
    values = rows(7, 60, absent=0.3)
    for width in (1, 3, 6 + 1, 12 + 1, 32 + 1):
        mean, median = MovingAverage(width)(values), RunningMedian(width, centred=True)(values)
        for row in range(60):
            past = values[max(0, row - width + 1) : row + 1]
            around = values[max(0, row - width // 2) : row + width // 2 + 1]
            for channel in range(3):
                if np.isnan(values[row, channel]):
                    assert np.isnan(mean[row, channel]) and np.isnan(median[row, channel])
                else:
                    assert mean[row, channel] == pytest.approx(np.nanmean(past[:, channel]), abs=1e-12)
                    assert median[row, channel] == pytest.approx(np.nanmedian(around[:, channel]), abs=1e-12)


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("absent", [0.0, 0.01])
def test_long_sequences_are_cut_into_parts_that_no_one_sees(name, absent):
    filter, values = FILTERS[name], rows(12, 9000, absent=absent)
    whole, _ = filter.transform(values, filter.start(3))
    agree(filter(values)[: 9000 - filter.delay], whole[filter.delay :])


@pytest.mark.parametrize("width", [3, 5, 6 + 3, 15, 31, 101, 103])
def test_medians_by_networks_heaps_and_sorting_are_one(width):
    values = rows(13, 700)
    wanted = np.median(np.lib.stride_tricks.sliding_window_view(values, width, axis=0), axis=-1)
    np.testing.assert_array_equal(RunningMedian(width)(values)[width - 1 :], wanted)
    values[300] = np.nan
    holed = np.nanmedian(np.lib.stride_tricks.sliding_window_view(values, width, axis=0), axis=-1)
    made = RunningMedian(width, centred=True)(values)[width // 2 : 700 - width // 2]
    np.testing.assert_array_equal(np.delete(made, 300 - width // 2, 0), np.delete(holed, 300 - width // 2, 0))


def test_polynomials_are_scipys_and_exact_for_polynomials():
    values = rows(8, 80)
    made = SavitzkyGolay(9, 3, derivative=1, rate=RATE)(values)
    wanted = signal.savgol_filter(values, 9, 3, deriv=1, delta=1 / RATE, axis=0)
    agree(made[4:-4], wanted[4:-4])
    time = np.arange(50)[:, None] / RATE
    parabola = 3 - 2 * time + 5 * time**2
    for centred in (False, True):
        slope = SavitzkyGolay(7, 2, 1, RATE, centred)(parabola)
        np.testing.assert_allclose(slope[4:-4], (-2 + 10 * time)[4:-4], atol=1e-9)
        holed = parabola.copy()
        holed[30] = np.nan
        slope = SavitzkyGolay(7, 2, 1, RATE, centred)(holed)
        np.testing.assert_allclose(np.delete(slope, 30, 0)[4:-4], np.delete(-2 + 10 * time, 30, 0)[4:-4], atol=1e-9)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 200), max_size=6), st.sampled_from([0.0, 0.4]))
def test_gaps_are_read_exactly(seed, cuts, absent):
    rng = np.random.default_rng(seed)
    values, gaps = rows(seed, 200, absent=absent), rng.uniform(0.001, 0.2, 200)
    for filter in (Exponential(0.05), Derivative()):
        whole = filter(values, gaps)
        agree(in_chunks(filter, values, sorted(cuts), gaps), whole)
        for channel in range(3):  # a removed row is the same as an absent one
            seen = np.flatnonzero(~np.isnan(values[:, channel]))
            clock = np.cumsum(gaps)[seen]
            merged = np.diff(clock, prepend=clock[:1] - 1)
            agree(whole[seen, channel : channel + 1], filter(values[seen, channel : channel + 1], merged))


def test_exponential_is_the_loop():
    values, gaps = rows(9, 300), np.random.default_rng(9).uniform(1e-4, 3.0, 300)
    y, made = values[0], Exponential(0.5)(values, gaps)
    for row in range(1, 300):
        y = y + (1 - np.exp(-gaps[row] / 0.5)) * (values[row] - y)
        np.testing.assert_allclose(made[row], y, atol=1e-12)


def test_irregular_clocks_are_refused_or_handled_by_the_stated_policy():
    time = np.delete(np.arange(1000), slice(400, 410)) / RATE
    values = np.sin(2 * np.pi * time)[:, None]
    stream = Stream((time * 1e9).round().astype(np.int64), values, ("a",))
    filter = BandFilter(15.0, RATE)
    with pytest.raises(ValueError, match=r"made for 100 Hz, row 400 comes 0.11 s after the one before \(1 such rows\)"):
        OnStream(filter)(stream)
    filtered = OnStream(ZeroPhase(filter), "resample")(stream)
    np.testing.assert_allclose(filtered.values, values, atol=0.02)
    nominal = OnStream(filter, "nominal")(stream)
    np.testing.assert_array_equal(nominal.values, filter(values))
    assert np.isfinite(OnStream(Exponential(0.1, RATE))(stream).values).all()
    holes = OnStream(filter, "resample", bridge=0.05)(stream)
    assert holes.observed is None  # no row lies inside the gap
    with pytest.raises(ValueError, match="there is no channel 'b', channels are a"):
        OnStream(filter, channels=["b"])(stream)


def test_streams_at_any_rate_pass_filters_that_count_rows():
    stream = Stream(np.arange(50) * 5_000_000, rows(0, 50), ("a", "b", "c"), unit="m", frame="imu")
    for filter in (SavitzkyGolay(7), RunningMedian(5), BandFilter(20.0, 200.0), Derivative(), Derivative(200.0)):
        made = OnStream(filter)(stream)
        assert made.unit == "m" and made.frame == "imu"
    np.testing.assert_allclose(made.values[1:], np.diff(stream.values, axis=0) * 200, rtol=1e-9)
    some = OnStream(SavitzkyGolay(7), channels=["b"])(stream)
    np.testing.assert_array_equal(some.values[:, [0, 2]], stream.values[:, [0, 2]])
    assert len(OnStream(BandFilter(20.0, 200.0))(Stream(stream.stamps[:0], stream.values[:0], stream.channels))) == 0


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match=r"between 0 and half the rate \(50 Hz\)"):
        BandFilter(60.0, RATE)
    with pytest.raises(ValueError, match="bandpass at 100 rows a second needs 2"):
        BandFilter(10.0, RATE, "bandpass")
    with pytest.raises(ValueError, match="width is 4 rows, needed an odd number"):
        MovingAverage(4)
    with pytest.raises(ValueError, match="degree 9 < width 7 must hold"):
        SavitzkyGolay(7, 9)
    with pytest.raises(ValueError, match="all poles inside the unit circle"):
        Sections([[1, 0, 0, 1, -2, 1]], RATE)
    with pytest.raises(ValueError, match=r"values have shape \(5,\), needed \(..., T, C\)"):
        MovingAverage(3)(np.zeros(5))
    with pytest.raises(ValueError, match="gap of row 1 is 0.0 s"):
        Derivative()(np.zeros((2, 1)), np.array([1.0, 0.0]))
