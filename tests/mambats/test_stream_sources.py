"""Whatever a sender writes, each line ends as a packet or as one error that names it; nothing else comes out."""

import io
import json
import math

import numpy as np
import pytest

from mambats.formats.error import DataError
from mambats.series import Recording, Stream
from mambats.streaming import Packet
from mambats.streaming.engines.facts import ForecastFacts
from mambats.streaming.sources import RowSource, read_lines
from mambats.streaming.sources.lines import LONGEST
from mambats.streaming.sources.recording import RecordingSource

FACTS = ForecastFacts(("a", "b"), 3600 * 10**9, 3)
GOOD = {
    "csv": ["time,a,b", *(f"2020-01-01T{hour:02d}:00:00,{hour},-1.5e2" for hour in range(24))],
    "jsonl": [json.dumps({"time": f"2020-01-01T{h:02d}:00:00", "a": h, "b": None}) for h in range(24)],
}
#: What breaks parsers: brackets without end, numbers without end, signs that end strings, other alphabets.
PIECES = [
    "[" * 5000,
    "9" * 5000,
    '"',
    "\\",
    "\x00",
    "{",
    "}",
    "nan",
    "1e999",
    "-",
    ",",
    "\u202e",
    "'",
    " ",
    "null",
    "True",
]


def mutated(lines, draw):
    text = list(draw.choice(lines[1:]))
    for _ in range(draw.integers(1, 4)):
        at = int(draw.integers(len(text) + 1))
        kind = draw.integers(3)
        if kind == 0:
            text.insert(at, str(draw.choice(PIECES)))
        elif kind == 1:
            del text[at : at + int(draw.integers(1, 9))]
        else:
            text[at : at + 1] = [chr(int(draw.integers(1, 0x2FF)))]
    return "".join(text).replace("\n", " ").replace("\r", " ")


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_mutated_lines_end_as_packets_or_named_errors(tmp_path, kind):
    draw = np.random.default_rng(0)
    lines = [*GOOD[kind][:2], *(mutated(GOOD[kind], draw) for _ in range(2500))]
    path = tmp_path / f"rows.{kind}"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = list(RowSource(str(path), FACTS, rows=2, kind=kind).packets())
    packets = [item for item in found if isinstance(item, Packet)]
    errors = [item for item in found if isinstance(item, DataError)]
    assert len(packets) + len(errors) == len(found)
    assert len(packets) > 20 and len(errors) > 100  # both happen, else the test says nothing
    assert all("line " in str(error) and str(path) in str(error) for error in errors)
    assert all(packet.values.shape == (2,) and -(2**63) <= packet.stamp_ns < 2**63 for packet in packets)
    if kind == "jsonl":  # a quote may join lines of CSV
        assert len(found) >= len(lines) - sum(not line.strip() for line in lines)


def test_a_line_without_end_is_refused_before_it_fills_the_memory():
    class Endless(io.StringIO):
        def readline(self, size=-1):
            assert 0 < size <= LONGEST + 1
            return "1" * size

    for kind in ("csv", "jsonl"):
        with pytest.raises(DataError, match="is longer than"):
            list(read_lines(Endless(), kind, "sender"))


def test_a_recording_is_played_in_the_order_of_time():
    imu = Stream(np.array([0, 10, 20]), np.arange(18.0).reshape(3, 6), tuple("abcdef"))
    seen = np.array([[True, False, True]])
    gnss = Stream(np.array([10]), np.array([[1.0, np.nan, 3.0]]), tuple("xyz"), seen)
    recording = Recording("drive", {"/imu": imu, "gnss": gnss})
    source = RecordingSource(recording, {"imu": 6, "gnss": 3, "query": 0}, {"imu": "/imu"})
    packets = list(source.packets())
    assert [(p.stream, p.stamp_ns) for p in packets] == [("imu", 0), ("imu", 10), ("gnss", 10), ("imu", 20)]
    assert math.isnan(packets[2].values[1]) and packets[2].values[2] == 3
    with pytest.raises(DataError, match="--stream"):
        RecordingSource(recording, {"lidar": 3})
    with pytest.raises(DataError, match="reads 2 as gnss"):
        RecordingSource(recording, {"gnss": 2})
