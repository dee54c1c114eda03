"""The recipes of drives and flights without fixes, made tiny on fakes: trained, scored, loaded again."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from mambats.checkpoint import load_task
from mambats.cli import main
from mambats.command.run_folder import RunFolder
from mambats.odometry.ins import BiasTask, OutageTask
from mambats.results import Row, read_results, write_results
from mambats_datasets import euroc as euroc_source
from mambats_datasets import gtsam_ins as gtsam_source
from mambats_datasets.fakes import euroc, gtsam_ins

RECIPES = Path(__file__).parents[2] / "recipes" / "fusion"
SPLIT = '{"class_path": "mambats.data.Fractions", "init_args": {"train": 0.5, "test": 0.25}}'


def fit_and_test(name: str, root: Path, words: list[str]) -> RunFolder:
    recipe = ["--config", str(RECIPES / f"{name}.yaml"), "--runs", str(root / "runs"), "--name", "tiny"]
    recipe += ["--trainer.logger", "false", "--trainer.max_epochs", "2", "--trainer.accelerator", "cpu"]
    recipe += ["--data.init_args.source.init_args.root", str(root), "--data.init_args.split", SPLIT]
    recipe += ["--data.init_args.batch_size", "2", "--data.init_args.steps", "1", *words]
    assert main(["fit", *recipe]) == 0
    assert main(["test", *recipe]) == 0
    return RunFolder(root / "runs", "tiny")


def models_of(run: RunFolder) -> set[str]:
    rows = json.loads(run.results.read_text())
    assert {row["mode"] for row in rows} == {"online"} and all(row["value"] is not None for row in rows)
    return {row["model"] for row in rows}


def test_outages_in_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part, record in list(gtsam_source.RECORDS.items()):
        monkeypatch.setitem(gtsam_source.RECORDS, part, replace(record, sha256=""))
    gtsam_ins.fake(tmp_path / "gtsam_kitti_ins", 1600)
    words = ["--data.init_args.settle", "2", "--model.init_args.tune", "1"]
    words += ["--model.init_args.blackout", '{"given": 2, "lost": 2, "rolling": 1.0}']
    words += ["--model.init_args.lengths", "[1, 3]"]
    run = fit_and_test("ins_kitti", tmp_path, words)
    filters = {f"filter, {what}" for what in ("no constraint", "noise as given", "noise tuned")}
    assert models_of(run) == {"strapdown", "tiny"} | filters
    assert list(run.pictures.glob("*.png"))
    task = load_task(run.best_checkpoint())
    assert isinstance(task, OutageTask)
    # What was tuned is in the checkpoint; what was given is in its recipe.
    assert task.as_given().noise["rolling"].deviation == [0.3, 0.3]


def test_drift_in_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(euroc_source, "RECORDS", {})
    euroc.fake_loose(tmp_path / "euroc" / "MH_01_easy", 3000)
    words = ["--data.init_args.settle", "2.5", "--model.init_args.lengths", "[1, 2]"]
    run = fit_and_test("odometry_euroc", tmp_path, words)
    assert models_of(run) == {"strapdown, no bias", "constant bias", "filter bias", "tiny"}
    assert isinstance(load_task(run.best_checkpoint()), BiasTask)


def test_several_seeds_stand_in_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("seeds", RECIPES.parent / "seeds.py")
    assert spec is not None and spec.loader is not None
    seeds = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(seeds)
    said = list[list[str]]()

    def instead(words: list[str]) -> int:
        said.append(words)
        run = words[words.index("--name") + 1]
        seed = int(words[words.index("--seed_everything") + 1])
        rows = [Row(run, "d", "test", 0, 1, "mse", 1.0 + seed, 3, seed, "online")]
        rows += [Row("plain", "d", "test", 0, 1, "mse", 2.0, 3, None, "online")]
        write_results(tmp_path / run / "results.json", rows)
        return 0

    monkeypatch.setattr(seeds, "mambats", instead)
    recipe = str(RECIPES / "ins_kitti.yaml")
    monkeypatch.setattr("sys.argv", ["seeds", recipe, "--seeds", "3", "4", "--runs", str(tmp_path), "--x", "1"])
    seeds.main()
    rows = read_results(tmp_path / "ins_kitti-seeds.json")
    assert [(row.model, row.seed) for row in rows] == [("ins_kitti", 3), ("plain", None), ("ins_kitti", 4)]
    assert [words[0] for words in said] == ["fit", "test"] * 2 and all("--x" in words for words in said)
