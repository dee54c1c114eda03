"""The command line: help at once, one message and the right exit code for every mistake, a run's folder whole."""

import errno
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mambats.checkpoint import verify
from mambats.cli import main
from mambats.command.door import through
from mambats.command.parser import checked_words

_spec = importlib.util.spec_from_file_location("tiny_run", Path(__file__).with_name("tiny_run.py"))
tiny_run = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tiny_run)

ENVIRONMENT = {**os.environ, "PYTHONPATH": ":".join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A folder with a table, a recipe and one finished fit and test; tests must leave it whole."""
    folder = tmp_path_factory.mktemp("cli")
    recipe = tiny_run.write_run(folder)
    words = ["--config", str(recipe), "--runs", str(folder / "runs"), "--trainer.logger", "false"]
    assert main(["fit", *words]) == 0
    assert main(["test", *words]) == 0
    return folder, words


def said(capsys, words, code=2):
    capsys.readouterr()
    found = main(words)
    out = capsys.readouterr()
    assert found == code, out.err
    return out.err


def test_help_answers_within_a_second_and_a_half():
    best = min(_seconds([sys.executable, "-m", "mambats.cli", "--help"]) for _ in range(3))
    assert best < 1.5


def _seconds(command):
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=True)
    assert "commands:" in done.stdout
    return time.perf_counter() - start


def test_help_imports_nothing_heavy():
    code = (
        "import sys, mambats.cli; mambats.cli.main(['--help']);"
        "print([m for m in ('torch', 'lightning', 'numpy', 'mlflow', 'polars') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.stdout.rstrip().endswith("[]"), done.stderr


def test_fitting_needs_neither_polars_nor_mlflow_and_a_robot_no_lightning():
    code = "import sys, {}; print([m for m in {} if m in sys.modules])"
    for module, absent in (
        ("mambats.command.recipe", ("polars", "mlflow")),
        ("mambats.streaming.sources.lines, mambats.forecast.model, mambats.recipe", ("polars", "mlflow", "lightning")),
    ):
        words = [sys.executable, "-c", code.format(module, absent)]
        done = subprocess.run(words, capture_output=True, text=True, env=ENVIRONMENT)
        assert done.stdout.strip() == "[]", (module, done.stdout, done.stderr)


def test_version_and_unknown_commands(capsys):
    assert main(["--version"]) == 0
    assert "mambats 0" in capsys.readouterr().out
    assert "there is no command 'fti'" in said(capsys, ["fti"])
    assert main([]) == 2


def test_a_fit_and_a_test_leave_a_whole_folder(fitted):
    folder, _ = fitted
    run = folder / "runs" / "tiny"
    verify(run / "checkpoints" / "best.ckpt")
    verify(run / "checkpoints" / "last.ckpt")
    assert (run / "metrics.csv").read_text().splitlines()[0].startswith("step,")
    rows = json.loads((run / "results.json").read_text())
    assert {"tiny", "last_value", "seasonal_naive", "ridge"} <= {row["model"] for row in rows}
    assert {row["windows"] for row in rows} == {77}
    assert (run / "pictures" / "forecasts.png").stat().st_size > 1000


def test_the_written_recipe_runs_again(fitted, capsys):
    folder, _ = fitted
    config = folder / "runs" / "tiny" / "config.yaml"
    before = (folder / "runs" / "tiny" / "results.json").read_text()
    assert main(["test", "--config", str(config)]) == 0
    assert json.loads((folder / "runs" / "tiny" / "results.json").read_text()) == json.loads(before)
    assert "ridge" in capsys.readouterr().out


def test_predict_writes_the_next_rows_in_their_units(fitted):
    import polars as pl

    folder, words = fitted
    assert main(["predict", *words, "--output", str(folder / "next.csv")]) == 0
    assert main(["predict", *words]) == 0
    table = pl.read_parquet(folder / "runs" / "tiny" / "predictions.parquet")
    assert table.columns == ["unique_id", "ds", "channel", "step", "forecast"]
    assert table.height == 8 and table["channel"].to_list() == ["a"] * 4 + ["b"] * 4
    assert str(table["ds"][0]) == "2020-01-17 16:00:00"
    assert 5 < table.filter(pl.col("channel") == "b")["forecast"].mean() < 15
    again = pl.read_csv(folder / "next.csv")
    assert again["forecast"].to_list() == pytest.approx(table["forecast"].to_list(), rel=1e-6)


def test_quantiles_are_columns_of_a_prediction():
    import numpy as np
    import torch

    from mambats.command.predict import long_columns

    forecast = torch.arange(2 * 3 * 2 * 3.0).reshape(2, 3, 2, 3)  # 2 series, 3 steps, 2 channels, 3 levels
    stamps = np.arange(6).reshape(2, 3)
    columns = long_columns(forecast, ["x", "y"], stamps, ("a", "b"), (0.05, 0.5, 0.95))
    row = 7  # series y, channel a, step 2
    found = [columns[name][row] for name in ("unique_id", "ds", "channel", "step", "forecast", "q0.05", "q0.95")]
    assert found == ["y", 4, "a", 2, forecast[1, 1, 0, 1], forecast[1, 1, 0, 0], forecast[1, 1, 0, 2]]
    assert all(len(column) == 12 for column in columns.values())


def test_validate_scores_the_validation_rows(fitted, capsys):
    _, words = fitted
    assert main(["validate", *words]) == 0
    assert "val_mse" in capsys.readouterr().out


def test_a_new_file_is_scaled_as_the_model_was_trained(fitted, tmp_path):
    """The last lookback alone, moved into a file of its own, must give the same forecast."""
    import polars as pl

    folder, words = fitted
    lines = (folder / "table.csv").read_text().splitlines()
    (tmp_path / "short.csv").write_text("\n".join([lines[0], *lines[-24:]]) + "\n")
    path = ["--data.source.init_args.path", str(tmp_path / "short.csv")]
    assert main(["predict", *words, "--output", str(tmp_path / "whole.csv")]) == 0
    assert main(["predict", *words, *path, "--output", str(tmp_path / "short_out.csv")]) == 0
    whole, short = (pl.read_csv(tmp_path / name)["forecast"].to_list() for name in ("whole.csv", "short_out.csv"))
    assert short == pytest.approx(whole, rel=1e-4, abs=1e-4)


def test_the_ablation_has_its_own_folder_and_a_row_in_the_table(fitted, tmp_path):
    import shutil

    folder, words = fitted
    shutil.copytree(folder / "runs", tmp_path / "runs")
    part = Path(__file__).parents[2] / "recipes" / "parts" / "no_mixer.yaml"
    runs = ["--runs", str(tmp_path / "runs")]
    assert main(["fit", *words, "--config", str(part), *runs]) == 0
    assert (tmp_path / "runs" / "tiny-no_mixer" / "checkpoints" / "best.ckpt").is_file()
    assert main(["test", *words, *runs]) == 0
    rows = json.loads((tmp_path / "runs" / "tiny" / "results.json").read_text())
    scores = {row["model"]: row["value"] for row in rows if row["metric"] == "mse"}
    assert scores["no_mixer"] != scores["tiny"]


def test_a_fit_goes_on_from_a_checkpoint_with_its_curves(fitted, tmp_path):
    import csv
    import shutil

    folder, words = fitted
    shutil.copytree(folder / "runs", tmp_path / "runs")
    more = ["--runs", str(tmp_path / "runs"), "--trainer.max_epochs", "2", "--ckpt_path", "last"]
    assert main(["fit", *words, *more]) == 0
    with (tmp_path / "runs" / "tiny" / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["val_mse"]]
    assert [float(row["epoch"]) for row in rows] == [0, 1]
    assert int(rows[1]["step"]) > int(rows[0]["step"])


KEYS = "--model.init_args.model.init_args."


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trainer.max_epoch", "3"], "trainer.max_epoch"),
        ([KEYS + "encoder.init_args.widht", "3"], "Option 'widht' is not accepted"),
        ([KEYS + "encoder.class_path", "mambats.encoders.CausalEncodr"], "CausalEncodr"),
        (["--name", "../elsewhere"], "name is '../elsewhere'"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: there is no such recipe"),
        (["--data.source.init_args.path", "nowhere.csv"], "nowhere.csv: no such file"),
        (["--data.init_args.lookback", "1000"], "has 400 rows, lookback 1000"),
        (["--data.init_args.lookback", "many"], "Expected a <class 'int'>"),
        ([KEYS + "encoder.init_args.channels", "5"], "set encoder.channels to 1"),
        ([KEYS + "head.init_args.width", "5"], "width"),
    ],
)
def test_a_mistake_is_one_message_and_leaves_the_last_run_alone(fitted, capsys, words, message):
    folder, common = fitted
    before = _content(folder / "runs")
    text = said(capsys, ["fit", *common, *words])
    assert message in text and text.count("mambats:") == 1 and "Traceback" not in text
    assert _content(folder / "runs") == before


def _content(folder):
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.replace("date,a,b", "date,a,a"), "a"),
        (lambda t: t.replace("2020-01-02 05:00:00", "2020-01-02 04:00:00"), "04:00:00 stands there twice"),
        (lambda t: t.replace("2020-01-02 05:00:00", "2019-01-02 05:00:00"), "time goes back"),
        (lambda t: t.replace("2020-01-02 05:00:00", "yesterday"), "yesterday"),
    ],
)
def test_a_bad_table_is_one_message_that_names_the_file(fitted, capsys, tmp_path, change, message):
    folder, common = fitted
    bad = tmp_path / "bad.csv"
    bad.write_text(change((folder / "table.csv").read_text()))
    text = said(capsys, ["fit", *common, "--data.source.init_args.path", str(bad)])
    assert "bad.csv" in text and message in text and "Traceback" not in text


def test_missing_values_can_be_refused(fitted, capsys, tmp_path):
    folder, common = fitted
    bad = tmp_path / "bad.csv"
    lines = (folder / "table.csv").read_text().splitlines()
    lines[7] = ",".join([lines[7].split(",")[0], "", lines[7].split(",")[2]])
    bad.write_text("\n".join(lines) + "\n")
    words = [*common, "--data.source.init_args.path", str(bad), "--data.init_args.missing", "refuse"]
    assert "'a'" in said(capsys, ["fit", *words])


def test_changed_channels_are_refused(fitted, capsys, tmp_path):
    folder, common = fitted
    other = tmp_path / "other.csv"
    other.write_text((folder / "table.csv").read_text().replace("date,a,b", "date,a,c"))
    text = said(capsys, ["predict", *common, "--data.source.init_args.path", str(other)])
    assert "trained on channels" in text and "c" in text


def test_an_unknown_key_in_a_recipe_is_named(fitted, capsys, tmp_path):
    folder, _ = fitted
    recipe = tmp_path / "typo.yaml"
    recipe.write_text((folder / "tiny.yaml").read_text().replace("max_epochs", "max_epoch"))
    text = said(capsys, ["fit", "--config", str(recipe)])
    assert "trainer.max_epoch" in text and "typo.yaml, line" in text


def test_a_recipe_that_names_foreign_code_is_refused_unless_trusted(fitted, capsys, tmp_path, monkeypatch):
    folder, _ = fitted
    (tmp_path / "payload.py").write_text("raise RuntimeError('ran')")
    monkeypatch.syspath_prepend(tmp_path)
    recipe = tmp_path / "evil.yaml"
    recipe.write_text((folder / "tiny.yaml").read_text().replace("mambats.data.Table", "payload.Table"))
    text = said(capsys, ["fit", "--config", str(recipe)])
    assert "Nothing was imported" in text and "--trusted" in text


@pytest.mark.parametrize("command", ["test", "predict", "validate"])
def test_without_a_fit_there_is_nothing_to_test(fitted, capsys, tmp_path, command):
    _, words = fitted
    assert "no finished fit lies there" in said(capsys, [command, *words, "--runs", str(tmp_path)])


def test_bad_checkpoints_are_named(fitted, capsys, tmp_path):
    folder, words = fitted
    whole = (folder / "runs" / "tiny" / "checkpoints" / "best.ckpt").read_bytes()
    bad = tmp_path / "bad.ckpt"
    assert "no such checkpoint" in said(capsys, ["test", *words, "--ckpt_path", str(bad)])
    bad.write_bytes(whole[:-10])
    assert "bad.ckpt.sha256 is not beside it" in said(capsys, ["test", *words, "--ckpt_path", str(bad)])
    Path(f"{bad}.sha256").write_text((folder / "runs" / "tiny" / "checkpoints" / "best.ckpt.sha256").read_text())
    assert "truncated or was changed" in said(capsys, ["test", *words, "--ckpt_path", str(bad)])
    other = [KEYS + "encoder.init_args.layers", "2"]
    text = said(capsys, ["test", *words, *other])
    assert "best.ckpt: holds another model" in text and "layers is 1, here 2" in text


def test_a_full_disk_ends_the_fit_with_a_message_and_keeps_the_old_checkpoint(fitted, capsys, monkeypatch):
    import torch

    folder, words = fitted
    before = _content(folder / "runs" / "tiny" / "checkpoints")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    config = (folder / "runs" / "tiny" / "config.yaml").read_text()
    assert "could not be saved: No space left" in said(capsys, ["fit", *words])
    assert _content(folder / "runs" / "tiny" / "checkpoints") == before
    assert (folder / "runs" / "tiny" / "config.yaml").read_text() == config


@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EFBIG"])
def test_a_full_disk_anywhere_is_a_message(capsys, code):
    def write():
        raise OSError(getattr(errno, code), "it is full", "results.json")

    assert through(write) == 2
    assert "results.json: it is full. Free some space" in capsys.readouterr().err


def test_the_door_gives_defects_a_traceback_and_interrupts_their_code(capsys):
    def bug():
        raise RuntimeError("a defect")

    def interrupt():
        raise KeyboardInterrupt

    def lightning_interrupt():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    def foreign():
        int("x")

    assert through(bug) == 1
    assert "Traceback" in capsys.readouterr().err
    assert through(foreign) == 1
    assert through(interrupt) == 130
    assert through(lightning_interrupt) == 130


@pytest.mark.slow
def test_ctrl_c_during_a_fit_ends_with_130_and_whole_files(tmp_path):
    recipe = tiny_run.write_run(tmp_path)
    words = ["fit", "--config", str(recipe), "--runs", str(tmp_path / "runs"), "--trainer.logger", "false"]
    command = [sys.executable, "-m", "mambats.cli", *words, "--trainer.max_epochs", "100000"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    for line in running.stdout:
        if line.startswith("epoch 3/"):
            break
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert "interrupted" in err and "Traceback" not in err
    verify(tmp_path / "runs" / "tiny" / "checkpoints" / "best.ckpt")


@pytest.mark.slow
def test_two_processes_train_the_same_model_as_one(tmp_path):
    import torch

    recipe = tiny_run.write_run(tmp_path)
    states = []
    for count in (1, 2):
        words = ["fit", "--config", str(recipe), "--runs", str(tmp_path / f"runs{count}"), "--trainer.logger", "false"]
        devices = ["--trainer.devices", str(count), *(["--trainer.strategy", "ddp"] if count > 1 else [])]
        command = [sys.executable, "-m", "mambats.cli", *words, *devices, "--trainer.max_epochs", "2"]
        done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        path = tmp_path / f"runs{count}" / "tiny" / "checkpoints" / "last.ckpt"
        states.append(torch.load(path, weights_only=True)["state_dict"])
    assert states[0].keys() == states[1].keys()
    for name in states[0]:
        torch.testing.assert_close(states[0][name], states[1][name], rtol=1e-5, atol=1e-5, msg=name)


def test_data_root_is_short_for_the_root_of_the_source() -> None:
    words = ["--data.root", "here", "--data.root=there", "--data.rooted", "x"]
    kept, _ = checked_words(words)
    long = "--data.init_args.source.init_args.root"
    assert kept == [long, "here", f"{long}=there", "--data.rooted", "x"]
