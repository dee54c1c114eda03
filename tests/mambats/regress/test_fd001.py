"""The recipe of FD001 on fake engines: trained, calibrated, scored beside the trees, drawn, predicted."""

import json
from pathlib import Path

import pytest
import torch

import mambats_datasets.cmapss as cmapss
from mambats.checkpoint import load_task
from mambats.cli import main
from mambats.data import CasesDataModule
from mambats_datasets import CMAPSS
from mambats_datasets.fakes.cmapss import fake

RECIPE = Path(__file__).parents[3] / "recipes" / "regress" / "fd001.yaml"
LIVES = (60, 52, 70, 45, 65, 50, 80, 48, 55, 62)


@pytest.fixture
def engines(tmp_path, monkeypatch):
    """A folder of fake engines, which are not the published files."""
    monkeypatch.setattr(cmapss, "RECORDS", {})
    monkeypatch.setattr(cmapss, "KNOWN", {})
    fake(tmp_path / "cmapss", LIVES, tuple(range(5, 5 + len(LIVES))))
    monkeypatch.setenv("MAMBATS_DATA", str(tmp_path))
    return tmp_path


def words(folder, *more):
    settings = ["--config", str(RECIPE), "--runs", str(folder / "runs"), "--trainer.logger", "false"]
    return [*settings, "--trainer.accelerator", "cpu", "--trainer.max_epochs", "2", *more]


OFFICIAL = (
    "--data.init_args.test.class_path", "mambats_datasets.CMAPSS", "--data.init_args.test.init_args.part", "test",
)  # fmt: skip


@pytest.mark.slow
def test_the_recipe_trains_is_scored_and_predicts(engines, capsys):
    for command in ("fit", "test"):
        assert main([command, *words(engines)]) == 0
    run = engines / "runs" / "fd001"
    rows = json.loads((run / "results.json").read_text())
    assert {row["model"] for row in rows} == {"fd001", "boosted_trees", "ridge", "mean"}
    counts = {row["split"]: row["windows"] for row in rows}
    tested = cases("fit").cases["test"]
    assert counts == {"test": 10 * len(tested), "test, every row": sum(len(case) for case in tested)}
    assert {row["metric"] for row in rows} >= {"rmse", "rmse_cap", "score_100", "coverage_90", "width"}
    for picture in ("lives.png", "asked.png"):
        assert (run / "pictures" / picture).stat().st_size > 10_000
    task = load_task(run / "checkpoints" / "best.ckpt")
    assert float(task.model.stretch) != 1.0 and float(task.model.target.scale) > 5
    # The official test, where a user has its truth: each engine once, at its last row.
    assert main(["test", *words(engines, *OFFICIAL)]) == 0
    rows = json.loads((run / "results.json").read_text())
    assert {row["windows"] for row in rows if row["split"] == "test"} == {len(LIVES)}
    # Without it a test is refused, and prediction works.
    (engines / "cmapss" / "RUL_FD001.txt").unlink()
    assert main(["test", *words(engines, *OFFICIAL)]) == 2
    assert "have no truth 'rul'" in capsys.readouterr().err
    assert main(["predict", *words(engines, *OFFICIAL, "--output", str(run / "left.csv"))]) == 0
    lines = (run / "left.csv").read_text().splitlines()
    assert lines[0] == "unique_id,ds,estimate,low,high" and len(lines) == 1 + sum(LIVES)


def cases(stage):
    data = CasesDataModule(CMAPSS(), "rul", labels=False)
    data.setup(stage)
    return data


def test_no_engine_is_on_two_sides(engines):
    data = cases("fit")
    names = [case.name for split in ("train", "val", "test") for case in data.cases[split]]
    assert len(names) == len(set(names)) == len(LIVES)
    assert data.channels[0] == "T2" and len(data.channels) == 24


@pytest.mark.slow
def test_the_real_engines_are_read(data_root):
    data = cases("fit")
    assert {name: len(each) for name, each in data.cases.items()} == {"train": 64, "val": 16, "test": 20, "predict": 20}
    batch = next(iter(data.test_dataloader()))
    assert batch.values.shape[2] == 24 and bool((batch.last == 0).all())
    assert bool(torch.isfinite(batch.values).all())
