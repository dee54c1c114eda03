"""The recipes of the simulated robot, made tiny: trained, scored, broken, loaded again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mambats.checkpoint import load_task
from mambats.cli import main
from mambats.command.degrade import degrade
from mambats.command.door import UsageError
from mambats.command.run_folder import RunFolder
from mambats.odometry import OdometryTask

RECIPES = Path(__file__).parents[3] / "recipes" / "fusion"


@pytest.fixture(scope="module", params=["demo", pytest.param("odometry_sim", marks=pytest.mark.slow)])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    runs = tmp_path_factory.mktemp("runs")
    words = ["--config", str(RECIPES / f"{request.param}.yaml"), "--runs", str(runs), "--name", "tiny"]
    words += ["--trainer.logger", "false", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu"]
    source = "--data.init_args.source.init_args"
    words += [f"{source}.series", "4", f"{source}.duration", "1.2", "--data.init_args.length", "1.0"]
    words += ["--data.init_args.batch_size", "2", "--model.init_args.versions", "1"]
    assert main(["fit", *words]) == 0
    assert main(["test", *words]) == 0
    return RunFolder(runs, "tiny")


def test_everyone_stands_in_one_table(run: RunFolder) -> None:
    rows = json.loads(run.results.read_text())
    models = {row["model"] for row in rows}
    assert {"tiny", "filter", "imu alone", "wheel alone", "gnss alone"} <= models
    assert {row["mode"] for row in rows} == {"online"}
    assert all(row["value"] is not None for row in rows)


def test_a_checkpoint_is_loaded_and_broken(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    task = load_task(run.best_checkpoint())
    assert isinstance(task, OdometryTask)
    rows = degrade(run.best_checkpoint(), drives=1)
    metrics = {row.metric for row in rows if row.model == "tiny"}
    assert {"nominal: position", "imu off: nees_position", "wheel miscalibrated 5 deg: coverage_95"} <= metrics
    assert "gnss stuck" in capsys.readouterr().out
    assert (run.path / "degradation.json").is_file()


def test_a_checkpoint_without_its_recipe_says_so(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--config RECIPE"):
        degrade(run.best_checkpoint(), tmp_path / "none.yaml")
