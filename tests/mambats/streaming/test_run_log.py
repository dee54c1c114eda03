"""What a run logs is what is read back, also where it was killed on the way."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from mambats.streaming.log.latency import Latency
from mambats.streaming.log.reader import MOST_CURVES, MOST_POINTS, read_counters, read_log
from mambats.streaming.log.writer import RunLog, RunLogError, unaccounted

COUNTERS = {
    "received": 10, "used": 7, "duplicate": 1, "late": 1, "rejected": 1,
    "streams": {"imu": {"received": 6, "used": 6}, "gnss": {"received": 4, "used": 1, "duplicate": 1}},
}  # fmt: skip


def test_quantiles_of_latency_are_within_a_bin():
    random = np.random.default_rng(0)
    values = np.exp(random.normal(4.0, 1.0, 5000))
    latency = Latency()
    for value in values:
        latency.add(float(value))
    for share in (0.5, 0.9, 0.99):
        exact = float(np.quantile(values, share, method="inverted_cdf"))
        assert latency.quantile(share) == pytest.approx(exact, rel=0.025)
    assert latency.quantile(1.0) <= latency.largest == values.max()
    again = Latency.read(json.loads(json.dumps(latency.content())))
    np.testing.assert_array_equal(again.counts, latency.counts)
    assert math.isnan(Latency().quantile(0.5))


@pytest.mark.parametrize("odd", [0.0, -5.0, math.nan, math.inf, 1e30])
def test_odd_latencies_are_counted_too(odd: float):
    latency = Latency()
    latency.add(odd)
    assert latency.counts.sum() == 1


def test_what_is_logged_is_read_back(tmp_path: Path):
    with RunLog(tmp_path / "log", {"bundle": "b"}) as log:
        for k in range(30):
            log.output(k * 10**7, {"place": [k, math.nan, -k], "speed": 0.5 * k}, latency_us=40.0 + k)
        log.counters(3 * 10**8, {"received": 5, "used": 5})
        log.counters(4 * 10**8, COUNTERS)
    found = read_log(tmp_path / "log")
    assert found.configuration == {"bundle": "b"} and found.counters == COUNTERS and found.answers == 30
    place = found.outputs["place"]
    assert place.names == ("0", "1", "2") and place.size == 3 and found.broken == 0
    np.testing.assert_array_equal(place.values[:, 0], np.arange(30.0))
    assert np.isnan(place.values[:, 1]).all()
    np.testing.assert_array_equal(found.outputs["speed"].values[:, 0], 0.5 * np.arange(30.0))
    assert found.latency is not None and found.latency.quantile(0.5) == pytest.approx(55, rel=0.05)
    assert found.counted is not None and found.counted[1]["used"].tolist() == [5.0, 7.0]


def test_many_outputs_of_several_robots_are_thinned_fairly(tmp_path: Path):
    with RunLog(tmp_path, {}) as log:
        for k in range(3 * MOST_POINTS):
            log.output(k, {"forecast": np.full((4, 5), k)}, row=k % 2)
    found = read_log(tmp_path)
    assert set(found.outputs) == {"forecast (robot 0)", "forecast (robot 1)"}
    sizes = [len(one.stamps) for one in found.outputs.values()]
    assert sum(sizes) == pytest.approx(MOST_POINTS, rel=0.02) and min(sizes) > 0.4 * MOST_POINTS
    assert all(one.values.shape[1] == MOST_CURVES and one.size == 20 for one in found.outputs.values())


def test_a_killed_run_leaves_what_it_had(tmp_path: Path):
    log = RunLog(tmp_path, {})
    log.output(1, {"x": 1.0}, latency_us=10.0)
    log.counters(1, {"received": 1, "used": 1})  # and then nothing more: no close
    with (tmp_path / "outputs.jsonl").open("a") as torn:
        torn.write('{"stamp_ns": 2, "outp')
    found = read_log(tmp_path)
    assert found.counters == {"received": 1, "used": 1} and found.broken == 1
    assert found.outputs["x"].values.tolist() == [[1.0]] and found.latency is not None
    log.close()
    log.close()


def test_a_run_that_was_killed_goes_on_with_its_log(tmp_path: Path):
    log = RunLog(tmp_path, {"engine": "native"})
    log.output(1, {"x": 1.0}, latency_us=10.0)
    log.counters(1, {"received": 1, "used": 1})
    with (tmp_path / "outputs.jsonl").open("a") as torn:
        torn.write('{"stamp_ns": 2, "outp')
    with RunLog(tmp_path, {"engine": "native"}, resume=True) as again:
        again.output(2, {"x": 2.0}, latency_us=20.0)
        again.counters(2, {"received": 2, "used": 2})
    found = read_log(tmp_path)
    assert found.outputs["x"].values.ravel().tolist() == [1.0, 2.0] and found.broken == 1
    assert found.latency is not None and found.latency.counts.sum() == 2 and found.counters["used"] == 2
    with pytest.raises(RunLogError, match="another configuration"):
        RunLog(tmp_path, {"engine": "onnx"}, resume=True)
    (tmp_path / "latency.json").write_text("{}")
    with pytest.raises(RunLogError, match=r"latency\.json"):
        RunLog(tmp_path, {"engine": "native"}, resume=True)
    RunLog(tmp_path / "new", {}, resume=True).close()


def test_a_folder_is_of_one_run(tmp_path: Path):
    RunLog(tmp_path, {}).close()
    with pytest.raises(RunLogError, match="another run"):
        RunLog(tmp_path, {})
    with pytest.raises(RunLogError, match="not JSON"):
        RunLog(tmp_path / "b", {"x": math.nan})


def test_packets_without_a_fate_are_found():
    assert unaccounted(COUNTERS) == {"gnss": 2}
    assert unaccounted({"received": 3, "used": 1}) == {"": 2}
    assert unaccounted({"ticks": 3}) == {}


@pytest.mark.parametrize("text", ["", "[1]", '{"used": "many"}', '{"used": 1.5}', "[" * 100_000])
def test_what_is_no_counters_is_refused_by_name(tmp_path: Path, text: str):
    (tmp_path / "counters.json").write_text(text)
    with pytest.raises(RunLogError, match=r"counters\.json"):
        read_counters(tmp_path / "counters.json")
    (tmp_path / "latency.json").write_text("{}")
    (tmp_path / "counters.json").unlink()
    with pytest.raises(RunLogError, match=r"latency\.json"):
        read_log(tmp_path)
