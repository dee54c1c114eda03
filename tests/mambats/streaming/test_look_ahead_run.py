"""`mambats run` on a checkpoint that looks ahead: answers with their lag, those of one pass over the recording."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mambats.checkpoint.file import write_checkpoint
from mambats.command.run import run
from mambats.formats import save_recording
from mambats.regress.stream_task import StreamRegressTask
from mambats.series import Recording, Stream
from tests.mambats.streaming.test_look_ahead import TICK, engine, offline, packets

NAMES = {"imu": ("x", "y", "z"), "gnss": ("px", "py")}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    task = StreamRegressTask(engine().model)
    task.source, task.fingerprint, task.channels, task.period_ns = "made", "0" * 64, ("x",), 20_000_000
    saved = {"state_dict": task.state_dict()}
    task.on_save_checkpoint(saved)
    path = tmp_path_factory.mktemp("run") / "best.ckpt"
    write_checkpoint(saved, path)
    return path


def recording(given, folder):
    streams = {}
    for name, channels in NAMES.items():
        mine = [p for p in given if p.stream == name]
        values = np.array([p.values for p in mine], np.float64)
        stamps = np.array([p.stamp_ns for p in mine], np.int64)
        streams[name] = Stream(stamps, np.nan_to_num(values), channels, np.isfinite(values), "m", name)
    return save_recording(Recording("drive", streams), folder)


def test_a_recording_is_answered_with_the_lag_said(checkpoint, tmp_path, capsys):
    given = packets()
    place = recording(given, tmp_path / "drive")
    words = ["--checkpoint", str(checkpoint), "--source", f"recording:{place}", "--tick", str(TICK / 1e9)]
    assert run([*words, "--sink", str(tmp_path / "out.jsonl"), "--log", str(tmp_path / "log")], "run") == 0
    said = capsys.readouterr().err
    assert "the model looks ahead: an answer waits for up to 0.2 s" in said and "rejected 0" in said
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    behind, stamps = engine(), [row["stamp_ns"] for row in rows]
    assert len(rows) > 20 and max(row["lag_s"] for row in rows) <= 0.2
    found = np.array([(row["v"], row["w"]) for row in rows])
    np.testing.assert_allclose(found, offline(behind, given, stamps), atol=1e-5, rtol=1e-5)
    assert any('"lag_s": 0.2' in path.read_text() for path in (tmp_path / "log").iterdir() if path.suffix != ".bin")


def test_its_checkpoint_goes_round(checkpoint):
    from mambats.bundle.rebuild import any_engine

    one, other = any_engine(checkpoint, tick_ns=TICK), engine()
    assert one.identity == other.identity and one.lag_ns == 200_000_000
    assert any_engine(checkpoint).tick_ns == 20_000_000
    assert torch.equal(one.model.head[0].weight, other.model.head[0].weight)


@pytest.mark.slow
def test_the_recipe_is_fitted_and_runs(tmp_path, capsys):
    """From YAML to answers at a lag: a recording of the simulated robot, tick by tick."""
    from mambats.cli import main
    from mambats_datasets.synthetic.robot import SimulatedRobots

    recipe = Path(__file__).parents[3] / "recipes" / "fusion" / "motion_ahead.yaml"
    words = ["--config", str(recipe), "--runs", str(tmp_path / "runs"), "--trainer.logger", "false"]
    words += ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
    words += ["--data.init_args.source.init_args.source.init_args.series", "6"]
    assert main(["fit", *words]) == 0
    assert main(["test", *words]) == 0
    assert "motion_ahead (lag 0.5 s)" in capsys.readouterr().out
    (drive,) = SimulatedRobots("robot", series=1, duration=3.0, seed=2).recordings()
    place = save_recording(drive, tmp_path / "drive")
    (best,) = (tmp_path / "runs" / "motion_ahead" / "checkpoints").glob("best.ckpt")
    out = tmp_path / "out.jsonl"
    assert main(["run", "--checkpoint", str(best), "--source", f"recording:{place}", "--sink", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) >= 20 and np.isfinite([row["v"] for row in rows]).all()
    assert 0 < max(row["lag_s"] for row in rows) <= 0.5


def test_a_device_is_for_forecasters(checkpoint):
    from mambats.bundle.rebuild import any_engine

    with pytest.raises(ValueError, match="a StreamRegressor runs on the CPU: forecasters run on a GPU"):
        any_engine(checkpoint, device="cuda")
