"""`mambats stream`: equal to one parallel pass, whole after a bad row, the same from CSV and JSON lines."""

import csv
import io
import json
import sys

import numpy as np
import pytest
import torch

from mambats.checkpoint import write_checkpoint, write_entry
from mambats.cli import main
from mambats.command.demo_forecast import parallel_forecasts
from mambats.encoders import CausalEncoder
from mambats.forecast import Cycle, DirectHead, Forecaster, LinearSkip
from mambats.forecast.task import ForecastTask
from mambats.formats.error import DataError
from mambats.scale import InstanceNorm, RunningNorm
from mambats.streaming.sources.lines import nanoseconds, number

HOUR = 3_600_000_000_000
CHANNELS = ("a", "b")


def make_task(quantiles=None, norm=None):
    torch.manual_seed(0)
    model = Forecaster(
        CausalEncoder(1, 8, 1),
        DirectHead(8, 3, quantiles=quantiles),
        norm or RunningNorm(),
        skip=LinearSkip(6, 3) if norm is None else None,
        cycle=Cycle(24, 2),
    )
    model.cycle.profile.normal_()
    if model.skip is not None:
        torch.nn.init.normal_(model.skip.weight, std=0.1)
    task = ForecastTask(model)
    task.adopt(CHANNELS, HOUR)
    task.scaler.mean.copy_(torch.tensor([1.0, 10.0]))
    task.scaler.scale.copy_(torch.tensor([2.0, 3.0]))
    return task


def save(task, path, **facts):
    checkpoint = {"state_dict": task.state_dict(), **facts}
    write_entry(checkpoint, task, CHANNELS, HOUR)
    write_checkpoint(checkpoint, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save(make_task(), tmp_path_factory.mktemp("stream") / "best.ckpt")


def rows(count=40, seed=0):
    """Irregular hours, some values absent."""
    rng = np.random.default_rng(seed)
    stamps = (np.cumsum(rng.choice([1, 1, 1, 2, 5], count)) + 438_000) * HOUR
    values = (rng.standard_normal((count, 2)) * [2, 3] + [1, 10]).astype(np.float32)
    values[rng.random((count, 2)) < 0.1] = np.nan
    return stamps.astype(np.int64), values


def lines(stamps, values):
    table = [["", *map(str, np.datetime64(int(s), "ns").astype("datetime64[s]").reshape(1))] for s in stamps]
    return [
        ",".join([row[1], *("" if np.isnan(v) else f"{v:.9g}" for v in cells)])
        for row, cells in zip(table, values, strict=True)
    ]


def write(path, body, header="time,a,b"):
    path.write_text("\n".join([header, *body]) + "\n")
    return path


def stream(checkpoint, source, sink, *more):
    return main(["stream", "--checkpoint", str(checkpoint), "--input", str(source), "--output", str(sink), *more])


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def numbers(path):
    return np.array([[float(v) for k, v in row.items() if "_h" in k] for row in read(path)])


def test_the_stream_equals_one_parallel_pass(checkpoint, tmp_path):
    stamps, values = rows()
    source = write(tmp_path / "in.csv", lines(stamps, values))
    assert stream(checkpoint, source, tmp_path / "out.csv") == 0
    found = numbers(tmp_path / "out.csv").reshape(40, 2, 3).transpose(0, 2, 1)
    wanted, scale = parallel_forecasts(checkpoint, stamps, values)
    assert np.abs((found - wanted) / scale).max() < 1e-5
    assert np.ptp(wanted) > 1  # a constant would be equal too


def test_gaps_count(checkpoint, tmp_path):
    stamps, values = rows()
    regular = stamps[0] + HOUR * np.arange(40)
    assert stream(checkpoint, write(tmp_path / "a.csv", lines(stamps, values)), tmp_path / "a_out.csv") == 0
    assert stream(checkpoint, write(tmp_path / "b.csv", lines(regular, values)), tmp_path / "b_out.csv") == 0
    assert np.abs(numbers(tmp_path / "a_out.csv") - numbers(tmp_path / "b_out.csv")).max() > 1e-3


BAD = {
    "text": ("2020-01-01T00:00:00,oops,1", "line 22, column 'a': 'oops' is not a number"),
    "infinite": ("2020-01-01T00:00:00,inf,1", "column 'a': 'inf' is not a number"),
    "huge": ("2020-01-01T00:00:00,1e39,1", "line 22: gives a forecast that is not finite"),
    "no time": (",1,1", "column 'time': '' is not a time"),
    "past time": ("2001-01-01T00:00:00,1,1", "column 'time': time does not rise"),
    "short": ("2020-01-01T00:00:00,1", "line 22: has 2 cells, the header 3 columns"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_row_is_named_and_leaves_the_state_as_it_was(checkpoint, tmp_path, capsys, kind):
    body = lines(*rows())
    bad, message = BAD[kind]
    clean = write(tmp_path / "clean.csv", body)
    dirty = write(tmp_path / "dirty.csv", [*body[:20], bad, *body[20:]])
    assert stream(checkpoint, clean, tmp_path / "clean_out.csv") == 0
    capsys.readouterr()
    assert stream(checkpoint, dirty, tmp_path / "stop.csv") == 2
    error = capsys.readouterr().err
    assert message in error and "dirty.csv" in error and error.count("mambats:") == 1
    assert read(tmp_path / "stop.csv") == read(tmp_path / "clean_out.csv")[:20]
    assert stream(checkpoint, dirty, tmp_path / "skip.csv", "--bad_rows", "skip") == 0
    assert message in capsys.readouterr().err
    assert read(tmp_path / "skip.csv") == read(tmp_path / "clean_out.csv")


def test_json_lines_and_a_pipe_give_the_same_numbers(checkpoint, tmp_path, capsys, monkeypatch):
    stamps, values = rows()
    assert stream(checkpoint, write(tmp_path / "in.csv", lines(stamps, values)), tmp_path / "out.csv") == 0
    text = [
        json.dumps({"time": str(np.datetime64(int(s), "ns")), "b": _cell(row[1]), "a": _cell(row[0])})
        for s, row in zip(stamps, values, strict=True)
    ]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(text) + "\n"))
    capsys.readouterr()
    assert stream(checkpoint, "-", "-", "--format", "jsonl") == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = np.array([answer["forecast"]["a"] + answer["forecast"]["b"] for answer in answers])
    assert np.allclose(found, numbers(tmp_path / "out.csv"), atol=1e-5)
    assert answers[0]["time"].startswith("20")


def _cell(value):
    return None if np.isnan(value) else float(value)


def test_two_series_in_one_file_keep_apart(checkpoint, tmp_path):
    one, two = lines(*rows(seed=1)), lines(*rows(seed=2))
    mixed = [f"{line},{name}" for pair in zip(one, two, strict=True) for line, name in zip(pair, "xy", strict=True)]
    assert (
        stream(checkpoint, write(tmp_path / "mixed.csv", mixed, "time,a,b,unique_id"), tmp_path / "mixed_out.csv") == 0
    )
    assert stream(checkpoint, write(tmp_path / "one.csv", one), tmp_path / "one_out.csv") == 0
    mine = [row for row in read(tmp_path / "mixed_out.csv") if row.pop("unique_id") == "x"]
    assert mine == read(tmp_path / "one_out.csv")


def test_quantiles_are_columns(tmp_path):
    path = save(make_task(quantiles=(0.1, 0.5, 0.9)), tmp_path / "q.ckpt")
    assert stream(path, write(tmp_path / "in.csv", lines(*rows())), tmp_path / "out.csv") == 0
    row = read(tmp_path / "out.csv")[-1]
    assert float(row["a_h1_q0.1"]) <= float(row["a_h1_q0.5"]) <= float(row["a_h1_q0.9"])
    assert row["a_h1"] == row["a_h1_q0.5"]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("time,a,c", "column 'b' is missing"),
        ("time,a,a", "column 'a' stands there twice"),
        ("n,a,b", "no time column is found"),
    ],
)
def test_wrong_columns_are_named_before_anything_is_written(checkpoint, tmp_path, capsys, header, message):
    body = ["5,1,2"] if header.startswith("n") else lines(*rows())
    sink = tmp_path / "out.csv"
    sink.write_text("earlier results")
    assert stream(checkpoint, write(tmp_path / "in.csv", body, header), sink) == 2
    assert message in capsys.readouterr().err
    assert sink.read_text() == "earlier results"


def test_a_model_of_windows_refuses_to_stream(tmp_path, capsys):
    path = save(make_task(norm=InstanceNorm()), tmp_path / "w.ckpt")
    assert stream(path, write(tmp_path / "in.csv", lines(*rows())), "-") == 2
    assert "cannot run row by row" in capsys.readouterr().err


def test_covariates_of_the_past_are_read_from_the_row(tmp_path, capsys):
    torch.manual_seed(0)
    task = ForecastTask(Forecaster(CausalEncoder(4, 8, 1), DirectHead(8, 3), RunningNorm(), mixing=False))
    task.adopt(CHANNELS, HOUR)
    facts = {"past": {"channels": ["p"], "mean": torch.tensor([5.0]), "scale": torch.tensor([2.0])}}
    facts["calendar"] = ["hour_of_day"]
    path = save(task, tmp_path / "p.ckpt", WindowDataModule=facts)
    body = lines(*rows())
    for name, value in (("one", 1), ("two", 2)):
        write(tmp_path / f"{name}.csv", [f"{line},{value}" for line in body], "time,a,b,p")
        assert stream(path, tmp_path / f"{name}.csv", tmp_path / f"{name}_out.csv") == 0
    assert np.abs(numbers(tmp_path / "one_out.csv") - numbers(tmp_path / "two_out.csv")).max() > 1e-6
    assert stream(path, write(tmp_path / "none.csv", body), "-") == 2
    assert "column 'p' is missing" in capsys.readouterr().err


def test_missing_files_and_words_are_named(checkpoint, tmp_path, capsys):
    assert stream(checkpoint, tmp_path / "none.csv", "-") == 2
    assert "none.csv" in capsys.readouterr().err
    assert stream(tmp_path / "none.ckpt", tmp_path / "none.csv", "-") == 2
    assert "no such checkpoint" in capsys.readouterr().err
    assert main(["stream", "--input", "x"]) == 2
    assert "--checkpoint" in capsys.readouterr().err
    assert stream(checkpoint, write(tmp_path / "in.csv", []), "-") == 2
    assert "holds no rows" in capsys.readouterr().err


def test_numbers_and_times():
    assert np.isnan(number(" NaN ", "x")) and number("1e3", "x") == 1000
    for bad in ("1,5", "true", True, [1], "1e999"):
        with pytest.raises(DataError, match="x: "):
            number(bad, "x")
    day = 86_400 * 10**9
    for text in (
        "1970-01-02",
        "1970-01-02T00:00:00Z",
        "1970-01-02 01:00:00+01:00",
        "86400",
        "86400.0",
    ):
        assert nanoseconds(text, "x") == day
    with pytest.raises(DataError, match="1677 to 2262"):
        nanoseconds("3000-01-01", "x")
    assert nanoseconds("2262-01-01", "x") == int(np.datetime64("2262-01-01", "ns").astype(np.int64))
    assert nanoseconds("2020-01-01 00:00:00.123456", "x") % 10**9 == 123_456_000
