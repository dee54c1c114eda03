"""`mambats run`: the numbers of `mambats stream`, and a stream in the world: late, twice, stopped, gone on with."""

import csv
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mambats.bundle.export import bundle_files
from mambats.bundle.folder import manifest_of
from mambats.bundle.rebuild import flat_of
from mambats.cli import main
from mambats.streaming.engines.library import missing

_spec = importlib.util.spec_from_file_location(
    "tiny_forecaster", Path(__file__).parent / "bundle" / "tiny_forecaster.py"
)
tiny = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny)
ENGINE = "torch" if missing() else "native"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny.save(tiny.make_task(quantiles=(0.1, 0.5, 0.9)), tmp_path_factory.mktemp("run") / "best.ckpt")


@pytest.fixture(scope="module")
def bundle(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    files = bundle_files(flat_of(checkpoint), checkpoint, {})
    for name, body in {**files, "manifest.json": manifest_of(files)}.items():
        (folder / name).write_bytes(body)
    return folder


def lines(count=40, seed=0):
    rng = np.random.default_rng(seed)
    hours = np.cumsum(rng.choice([1, 1, 1, 2, 5], count)) + 438_000
    values = rng.standard_normal((count, 2)) * [2, 3] + [1, 10]
    made = []
    for hour, row in zip(hours, values, strict=True):
        cells = ["" if rng.random() < 0.1 else f"{v:.6g}" for v in row]
        made.append(",".join([str(np.datetime64(int(hour), "h").astype("datetime64[s]")), *cells]))
    return made


def write(path, body, header="time,a,b"):
    path.write_text("\n".join([header, *body]) + "\n")
    return path


def run(model, source, sink, *more):
    kind = "--bundle" if Path(model).is_dir() else "--checkpoint"
    engine = ["--engine", ENGINE] if kind == "--bundle" else []
    return main(["run", kind, str(model), *engine, "--source", str(source), "--sink", str(sink), *map(str, more)])


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def numbers(path):
    return np.array([[float(v) for k, v in row.items() if "_h" in k] for row in read(path)])


def test_bundle_checkpoint_and_stream_agree(bundle, checkpoint, tmp_path, capsys):
    source = write(tmp_path / "in.csv", lines())
    words = ["--checkpoint", str(checkpoint), "--input", str(source), "--output", str(tmp_path / "stream.csv")]
    assert main(["stream", *words]) == 0
    wanted = numbers(tmp_path / "stream.csv")
    for name, model in (("bundle", bundle), ("checkpoint", checkpoint)):
        assert run(model, source, tmp_path / f"{name}.csv") == 0
        assert np.abs(numbers(tmp_path / f"{name}.csv") - wanted).max() < 1e-5 * np.abs(wanted).max()
        assert [row["time"] for row in read(tmp_path / f"{name}.csv")] == [row.split(",")[0] for row in lines()]
    assert np.ptp(wanted) > 1
    assert "40 packets" in capsys.readouterr().err


def test_late_and_doubled_rows_are_counted_and_change_nothing(bundle, tmp_path, capsys):
    body = lines()
    run(bundle, write(tmp_path / "clean.csv", body), tmp_path / "clean_out.csv")
    # Row 20 comes twice, row 10 once more when it is long past, and 30 behind 31.
    dirty = [*body[:21], body[20], body[10], *body[21:30], body[31], body[30], *body[32:]]
    capsys.readouterr()
    words = ("--wait", 6 * 3600, "--lateness", 12 * 3600)
    assert run(bundle, write(tmp_path / "dirty.csv", dirty), tmp_path / "dirty_out.csv", *words) == 0
    told = capsys.readouterr().err
    assert "duplicate 1, late 1, rejected 0, waiting 0" in told
    assert read(tmp_path / "dirty_out.csv") == read(tmp_path / "clean_out.csv")


def test_a_bad_row_stops_or_is_counted(bundle, tmp_path, capsys):
    body = lines()
    dirty = write(tmp_path / "dirty.csv", [*body[:20], "2030-01-01T00:00:00,oops,1", *body[20:]])
    assert run(bundle, write(tmp_path / "clean.csv", body), tmp_path / "clean_out.csv") == 0
    assert run(bundle, dirty, tmp_path / "stop.csv") == 2
    assert "line 22, column 'a': 'oops' is not a number" in capsys.readouterr().err
    assert read(tmp_path / "stop.csv") == read(tmp_path / "clean_out.csv")[:20]
    assert run(bundle, dirty, tmp_path / "skip.csv", "--bad_rows", "skip") == 0
    assert "used 40, duplicate 0, late 0, rejected 1" in capsys.readouterr().err
    assert read(tmp_path / "skip.csv") == read(tmp_path / "clean_out.csv")


def test_a_run_goes_on_from_its_snapshot_without_gap_or_double(bundle, tmp_path):
    body = lines()
    run(bundle, write(tmp_path / "in.csv", body), tmp_path / "whole.csv")
    sink, snaps = tmp_path / "out.csv", tmp_path / "snapshots"
    # A process that took half of the rows, wrote three answers after its last snapshot, and tore a line when killed.
    run(bundle, write(tmp_path / "part.csv", body[:20]), sink, "--snapshot", snaps)
    whole = (tmp_path / "whole.csv").read_text().splitlines(keepends=True)
    sink.write_text("".join(whole[:24]) + whole[24][:30])
    assert run(bundle, tmp_path / "in.csv", sink, "--snapshot", snaps) == 0
    assert sink.read_text() == (tmp_path / "whole.csv").read_text()


def test_a_snapshot_of_another_model_is_named_and_not_used(bundle, tmp_path, capsys):
    other = tiny.save(tiny.make_task(), tmp_path / "other.ckpt")
    source = write(tmp_path / "in.csv", lines())
    run(other, source, tmp_path / "other.csv", "--snapshot", tmp_path / "snapshots")
    capsys.readouterr()
    assert run(bundle, source, tmp_path / "out.csv", "--snapshot", tmp_path / "snapshots") == 0
    assert "model" in capsys.readouterr().err
    assert len(read(tmp_path / "out.csv")) == 40


def test_series_of_one_file_run_side_by_side(bundle, tmp_path):
    one, two = lines(seed=1), lines(seed=2)
    mixed = [f"{line},{name}" for pair in zip(one, two, strict=True) for line, name in zip(pair, "xy", strict=True)]
    assert run(bundle, write(tmp_path / "mixed.csv", mixed, "time,a,b,unique_id"), tmp_path / "mixed_out.csv") == 0
    assert run(bundle, write(tmp_path / "one.csv", one), tmp_path / "one_out.csv") == 0
    mine = [row for row in read(tmp_path / "mixed_out.csv") if row.pop("unique_id") == "x"]
    wanted = numbers(tmp_path / "one_out.csv")
    found = np.array([[float(v) for k, v in row.items() if "_h" in k] for row in mine])
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_standard_input_json_lines_and_rows_without_time(bundle, checkpoint, tmp_path, capsys, monkeypatch):
    text = [json.dumps({"time": row.split(",")[0], "a": 1.0, "b": None}) for row in lines()]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(text) + "\n"))
    assert run(bundle, "-", "-", "--format", "jsonl") == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(answers) == 40 and set(answers[0]) == {"time", "forecast", "quantiles"}
    plain = tiny.save(tiny.make_task(cycle=False), tmp_path / "plain.ckpt")
    assert run(plain, write(tmp_path / "n.csv", ["1,2", "3,4"], "a,b"), tmp_path / "n_out.csv") == 0
    assert [row["step"] for row in read(tmp_path / "n_out.csv")] == ["0", "1"]


def test_a_log_is_written_and_counters_add_up(bundle, tmp_path):
    assert run(bundle, write(tmp_path / "in.csv", lines()), tmp_path / "out.csv", "--log", tmp_path / "log") == 0
    counters = json.loads((tmp_path / "log" / "counters.json").read_text())
    assert counters["received"] == counters["used"] == 40
    assert len((tmp_path / "log" / "outputs.jsonl").read_text().splitlines()) == 40
    assert json.loads((tmp_path / "log" / "configuration.json").read_text())["identity"]


def test_speed_is_kept(checkpoint, tmp_path):
    body = [f"2020-01-01T0{hour}:00:00,1,2" for hour in range(4)]
    begun = time.monotonic()
    assert run(checkpoint, write(tmp_path / "in.csv", body), tmp_path / "out.csv", "--speed", 36_000) == 0
    assert 0.3 <= time.monotonic() - begun < 30


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--source", "none.csv"], "none.csv"),
        (["--source", "in.csv", "--stream", "imu"], "need NAME=TOPIC"),
        (["--source", "in.csv", "--speed", "0"], "not above 0"),
        (["--source", "in.csv", "--wait", "-1"], "not 0 or more"),
        ([], "--source"),
    ],
)
def test_wrong_words_are_named(bundle, tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "in.csv", lines(2))
    assert main(["run", "--bundle", str(bundle), "--engine", ENGINE, *words]) == 2
    assert message in capsys.readouterr().err


def test_a_checkpoint_runs_by_torch_only(checkpoint, capsys):
    assert main(["run", "--checkpoint", str(checkpoint), "--engine", "onnx", "--source", "x"]) == 2
    assert "mambats export" in capsys.readouterr().err


def test_asked_to_end_it_saves_and_leaves_in_good_order(bundle, tmp_path):
    """SIGTERM while it waits for a line on standard input: exit 0, all answers written, a snapshot to go on from."""
    if ENGINE == "torch":
        pytest.skip(missing())
    body = lines()
    run(bundle, write(tmp_path / "in.csv", body), tmp_path / "whole.csv")
    sink, snaps = tmp_path / "out.csv", tmp_path / "snapshots"
    words = ["run", "--bundle", str(bundle), "--engine", ENGINE, "--sink", str(sink), "--snapshot", str(snaps)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "mambats.cli", *words, "--source", "-"],
        stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    process.stdin.write("\n".join(["time,a,b", *body[:20]]) + "\n")
    process.stdin.flush()
    for _ in range(600):
        if sink.is_file() and sink.read_text().count("\n") == 21:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert "used 20" in told and len(list(snaps.glob("*.safetensors"))) == 1
    assert main([*words, "--source", str(tmp_path / "in.csv")]) == 0
    assert sink.read_text() == (tmp_path / "whole.csv").read_text()


@pytest.mark.slow
def test_killed_at_any_point_it_goes_on_without_gap_or_double(bundle, tmp_path):
    """SIGKILL after random times, ten times over; the run that ends leaves what an unbroken one leaves, to the byte."""
    source = write(tmp_path / "in.csv", lines(3000))
    assert run(bundle, source, tmp_path / "whole.csv") == 0
    sink, snaps = tmp_path / "out.csv", tmp_path / "snapshots"
    words = ["run", "--bundle", str(bundle), "--engine", ENGINE, "--source", str(source), "--sink", str(sink)]
    words += ["--snapshot", str(snaps), "--snapshot_every", "0.02"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    draw, killed = np.random.default_rng(0), 0
    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-m", "mambats.cli", *words], stderr=subprocess.DEVNULL, env=environment
        )
        before = sink.stat().st_size if sink.is_file() else 0
        for _ in range(3000):  # it has begun to write
            if process.poll() is not None or (sink.is_file() and sink.stat().st_size > before):
                break
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.2))
        killed += process.poll() is None
        process.kill()
        process.wait()
    assert killed >= 3
    assert main(words) == 0
    assert sink.read_bytes() == (tmp_path / "whole.csv").read_bytes()
