"""Every recipe is run: fit, then test, on a small table in place of its data, with its own model and settings."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml

from mambats.cli import main
from mambats.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
FORECAST = sorted(p.stem for p in (RECIPES / "forecast").glob("*.yaml"))
# Channels of the data each recipe is written for; a recipe not named here reads ETT's seven.
CHANNELS = {"demo": 2, "beijing_pm25": 1, "table": 3}
# The same model as etth1_96 at other horizons, and one whose context is long.
LONG = {"etth1_192", "etth1_336", "etth1_720", "ettm1_long"}
SHORT_CONTEXT = {"ettm1_long": ["--data.init_args.lookback", "1008"]}
LIMITS = [f"--trainer.limit_{stage}_batches=1" for stage in ("train", "val", "test")]


def write_table(path, channels, rows=5000, holes=False):
    rng = np.random.default_rng(0)
    turns = 2 * np.pi * np.arange(rows)[:, None] / 24
    values = np.sin(turns + np.arange(channels)) + 0.1 * rng.standard_normal((rows, channels))
    start = datetime(2020, 1, 1)
    lines = [",".join(["date", *(f"c{i}" for i in range(channels))])]
    for index, row in enumerate(values):
        if holes and rng.random() < 0.05:
            continue
        lines.append(",".join([str(start + timedelta(hours=index)), *(f"{value:.4f}" for value in row)]))
    path.write_text("\n".join(lines) + "\n")


def params():
    return [pytest.param(name, marks=[pytest.mark.slow] if name in LONG else []) for name in FORECAST]


@pytest.mark.parametrize("name", params())
def test_a_recipe_trains_and_is_scored(name, tmp_path):
    recipe = RECIPES / "forecast" / f"{name}.yaml"
    table = tmp_path / "table.csv"
    write_table(table, CHANNELS.get(name, 7), holes=name == "beijing_pm25")
    words = ["--config", str(recipe), "--runs", str(tmp_path / "runs"), "--trainer.logger", "false", *LIMITS]
    words += ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--data.init_args.batch_size", "2"]
    if name == "table":
        words += ["--data.source.init_args.path", str(table)]
    else:
        words += [
            "--data.init_args.source",
            json.dumps(_source(table, name)),
            "--data.init_args.split",
            json.dumps(SPLIT),
        ]
    words += ["--data.init_args.loading.init_args.eval_batch_size", "32", *SHORT_CONTEXT.get(name, [])]
    assert main(["fit", *words]) == 0
    assert main(["test", *words]) == 0
    rows = json.loads((tmp_path / "runs" / name / "results.json").read_text())
    assert {name, "last_value", "seasonal_naive", "ridge"} <= {row["model"] for row in rows}
    assert all(np.isfinite(row["value"]) for row in rows)


# Windows of 1,008 + 720 rows must fit into each split.
SPLIT = {"class_path": "mambats.data.Fractions", "init_args": {"train": 0.4, "test": 0.3}}


def _source(table, name):
    frequency = "1h" if name == "beijing_pm25" else None
    return {"class_path": "mambats.data.Table", "init_args": {"path": str(table), "frequency": frequency}}


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("*.yaml")), ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_a_recipe_says_what_it_is_and_names_only_what_it_may(path):
    content = load_recipe(path)
    assert path.read_text().startswith("#")
    if trackers := [one["tracker"] for one in content.get("trackers", [content]) if "tracker" in one]:
        assert {one["class_path"] for one in trackers} == {"mambats.track.Tracker"}  # `mambats track` names no runs
    elif path.parent.name != "parts":
        assert content["name"] in (path.stem, f"{path.parent.name}-{path.stem}")
    assert yaml.safe_dump(content)


def test_the_parts_stack_onto_a_recipe(tmp_path):
    """Parsed only: the GPU is not there, the server does not run."""
    from mambats.command import recipe

    seen = {}

    class Stop(Exception):
        pass

    class Look(recipe.RecipeCLI):
        def instantiate_classes(self):
            seen.update(trainer=self.config.fit.trainer, model=self.config.fit.model, name=self.folder.name)
            raise Stop

    words = ["fit"]
    for name in ("forecast/demo", "parts/trainer", "parts/mlflow", "parts/gpu", "parts/no_mixer"):
        words += ["--config", str(RECIPES / f"{name}.yaml")]
    with pytest.raises(Stop):
        Look(words, "demo")
    assert seen["name"] == "demo-no_mixer"
    assert seen["model"].init_args.no_mixer is True
    assert seen["model"].init_args.model.init_args.encoder.init_args.width == 32
    assert seen["trainer"].max_epochs == 30 and seen["trainer"].accelerator == "gpu"
    assert seen["trainer"].logger[0].class_path == "mambats.experiment.MLflow"


@pytest.mark.slow
def test_the_demo_ends_with_an_equal_stream(tmp_path, capsys):
    words = ["demo", "--runs", str(tmp_path), "--trainer.logger", "false", "--trainer.accelerator", "cpu"]
    assert main([*words, "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "5"]) == 0
    out = capsys.readouterr().out
    assert "ridge" in out and "pictures:" in out and out.rstrip().endswith("equal")
