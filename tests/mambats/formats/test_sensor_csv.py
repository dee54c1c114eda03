import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mambats.formats import DataError
from mambats.formats.repair import REPAIR
from mambats.formats.sensor_csv import Column, read_sensor_csv, write_sensor_csv
from mambats.formats.units import UNITS, plain, to_si, unit_in_name
from mambats.series import Recording, Stream
from mambats_datasets.fakes.body import GRAVITY, rocking
from mambats_datasets.fakes.imufusion import fake

IMU = {f"w{axis}": Column(f"Gyroscope {axis.upper()} (deg/s)", "deg/s") for axis in "xyz"} | {
    f"a{axis}": Column(f"Accelerometer {axis.upper()} (g)", "g") for axis in "xyz"
}
SENSORS = {
    "imu": IMU,
    "magnetometer": {f"m{axis}": Column(f"Magnetometer {axis.upper()} (uT)", "uT") for axis in "xyz"},
}
GPS = {"latitude": Column("lat", "deg"), "longitude": Column("lon", "deg"), "altitude": Column("alt", "ft")}


@pytest.fixture
def log(tmp_path):
    return fake(tmp_path)


def test_a_log_in_degrees_and_g_comes_out_in_si(log):
    body = rocking(200, 100, start=0)
    recording = read_sensor_csv(log, SENSORS, "Time (s)")
    imu, field = recording.streams["imu"], recording.streams["magnetometer"]
    assert imu.units == ("rad/s",) * 3 + ("m/s^2",) * 3
    np.testing.assert_allclose(imu.values[:, :3], body.rate, rtol=1e-6)
    np.testing.assert_allclose(imu.values[:, 3:], body.force * 9.80665 / GRAVITY, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(field.values, body.field, rtol=1e-6)
    assert field.units == ("uT",) * 3
    assert imu.stamps.tolist() == body.stamps.tolist()
    backwards = {"imu": dict(reversed(IMU.items()))}
    assert read_sensor_csv(log, backwards, "Time (s)").streams["imu"].channels == imu.channels


def test_units_that_were_not_declared_are_seen(log):
    wrong = {"imu": IMU | {"wy": Column("Gyroscope Y (deg/s)", "rad/s")}}
    with pytest.raises(DataError, match="column 'Gyroscope Y .deg/s.' says 'deg/s', declared was 'rad/s'"):
        read_sensor_csv(log, wrong, "Time (s)")
    log.write_text(log.read_text().replace(" (deg/s)", "").replace(" (g)", ""))
    for unit, message in (("m/s^2", "one gravity in g"), ("G", "unit 'G' is not known. Choose of rad/s, deg/s")):
        mapped = {
            name: Column(column.name.split(" (")[0], "rad/s" if name[0] == "w" else unit)
            for name, column in IMU.items()
        }
        with pytest.raises(DataError, match=message):
            read_sensor_csv(log, {"imu": mapped}, "Time (s)")


def test_sensors_of_several_rates_share_a_file(tmp_path):
    path = tmp_path / "boat.csv"
    path.write_text(
        "ms;lat;lon;alt;volt\n10;;;;12.5\n20;;;;12.4\n25;48.1;11.5;1000;\n30;;;;\n35;48.2;;1000;\n40;;;;12.3\n"
    )
    recording = read_sensor_csv(path, {"gnss": GPS, "battery": {"voltage": Column("volt", "V")}}, "ms", "ms")
    gnss, battery = recording.streams["gnss"], recording.streams["battery"]
    assert gnss.stamps.tolist() == [25_000_000, 30_000_000, 35_000_000]
    assert gnss.observed.tolist() == [[True] * 3, [False] * 3, [True, False, True]]
    assert gnss.values[0].tolist() == [48.1, 11.5, pytest.approx(304.8)]
    assert (gnss.units, gnss.frame) == (("deg", "deg", "m"), "map")
    assert battery.stamps.tolist() == [10_000_000, 20_000_000, 30_000_000, 40_000_000]


def test_columns_are_numbered_where_they_have_no_names(tmp_path):
    path = tmp_path / "wheel.txt"
    path.write_text("0.5 100 3.6\n0.6 200 7.2\n")
    wheel = {"v": Column("3", "km/h"), "w": Column("2", "rpm")}
    stream = read_sensor_csv(path, {"wheel": wheel}, "1").streams["wheel"]
    assert stream.channels == ("v", "w")
    np.testing.assert_allclose(stream.values, [[1, 100 * np.pi / 30], [2, 200 * np.pi / 30]])


def test_faults_are_located(log):
    lines = log.read_text().splitlines()
    with pytest.raises(DataError, match="0 columns are named 'time', needed one; the columns are Time"):
        read_sensor_csv(log, SENSORS)
    with pytest.raises(DataError, match=r"no column is named like 'imu.wx \[rad/s\]'"):
        read_sensor_csv(log, None, "Time (s)")
    for change, message in (
        ([*lines[:9], lines[8], *lines[9:]], "line 10: the clock is the same"),
        ([*lines[:9], lines[8] + ",1", *lines[9:]], "line 10: 11 columns, the first line has 10"),
        ([*lines[:9], lines[8].replace(",", ",x", 1), *lines[9:]], "line 10, column 'Gyroscope X .deg/s.': 'x"),
        ([*lines, "2.1,0,0"], "line 202: cut off after 3 of 10 columns"),
    ):
        log.write_text("\n".join(change))
        with pytest.raises(DataError, match=message):
            read_sensor_csv(log, SENSORS, "Time (s)")
    assert read_sensor_csv(log, SENSORS, "Time (s)", policy=REPAIR).repairs[0].endswith("dropped, line 202")


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_what_is_written_is_read(tmp_path_factory, first, second, seed):
    rng = np.random.default_rng(seed)
    streams = {}
    for name, rows, unit in (("imu", first, "m/s^2"), ("wheel", second, "")):
        stamps = np.sort(rng.choice(2**40, size=rows, replace=False)).astype(np.int64) - 2**39
        values = rng.normal(size=(rows, 2)) * 10.0 ** rng.integers(-9, 9)
        values[rng.random((rows, 2)) < 0.2] = np.nan
        values[np.isnan(values).all(axis=1)] = 1.0
        observed = np.isfinite(values)
        streams[name] = Stream(stamps, values, ("a", "b"), None if observed.all() else observed, (unit, "rad/s"))
    path = write_sensor_csv(tmp_path_factory.mktemp("csv") / "log.csv", Recording("log", streams))
    read = read_sensor_csv(path)
    assert read.name == "log"
    for name, stream in streams.items():
        back = read.streams[name]
        np.testing.assert_array_equal(back.stamps, stream.stamps)
        np.testing.assert_array_equal(back.values, stream.values)
        assert (back.channels, back.units) == (stream.channels, stream.units)


def test_names_and_units_that_could_not_be_read_again_are_refused(tmp_path):
    for name, unit in (("a.b", "m"), ("a", "deg/s"), ("a", "furlong"), ("a,b", "m")):
        stream = Stream(np.arange(2), np.ones((2, 1)), ("x",), unit=unit)
        with pytest.raises(DataError, match="cannot be a column's name"):
            write_sensor_csv(tmp_path / "a.csv", Recording("a", {name: stream}))


def test_units():
    assert {to_si(unit, "")[0] for unit in UNITS} <= UNITS.keys()
    assert all(UNITS[to_si(unit, "")[0]] == (to_si(unit, "")[0], 1.0) for unit in UNITS)
    assert (plain("°/s"), plain("rad s^-1"), plain("m s^-2"), plain("µT")) == ("deg/s", "rad/s", "m/s^2", "uT")
    assert unit_in_name("w_RS_S_x [rad s^-1]") == "rad/s"
    assert unit_in_name("Time") is None
    assert to_si("mg", "")[1] == pytest.approx(9.80665e-3)
