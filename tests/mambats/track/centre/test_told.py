"""A tracker that believes its detections' covariances, in a world that has the laws it assumes."""

import importlib.util
import math
import sys
from pathlib import Path

import pytest
import torch

from mambats.track import Objects, ScoreCalibration
from mambats.track.centre import ToldNoise
from mambats_datasets.synthetic.crossing import CrossingWorlds

RECIPE = Path(__file__).parents[4] / "recipes" / "raw_table.py"


@pytest.fixture(scope="module")
def recipe():
    sys.path.insert(0, str(RECIPE.parent))  # for its neighbours
    spec = importlib.util.spec_from_file_location("raw_table", RECIPE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["raw_table"] = module
    spec.loader.exec_module(module)
    sys.path.remove(str(RECIPE.parent))
    return module


def detections():
    return CrossingWorlds(duration=1.0, objects=8).batch(1, torch.Generator().manual_seed(0)).objects(0)[1]


def test_covariances_are_those_told():
    found = detections()
    made, splits = ToldNoise(2.0, ScoreCalibration(2.5, 0.3), least=0.0)(found)
    kept = 2.5 * found.score + 0.3 >= 0
    assert splits[-1] == len(made.boxes) == int(kept.sum()) < len(found.boxes)
    torch.testing.assert_close(made.covariance, 2 * found.covariance[kept])
    torch.testing.assert_close(made.odds, (2.5 * found.score + 0.3)[kept])


def test_without_covariances_or_scale_it_refuses():
    found = detections()
    bare = Objects(found.stamps, found.splits, found.boxes, found.labels, found.classes, score=found.score)
    with pytest.raises(ValueError, match="have no covariance"):
        ToldNoise()(bare)
    with pytest.raises(ValueError, match=r"scale is 0\.0"):
        ToldNoise(0.0)


def test_the_tracker_is_consistent_where_it_knows_the_laws(recipe):
    rows = recipe.oracle(3, 3)
    assert [row["class"] for row in rows] == ["car", "pedestrian", "cyclist"]
    for row in rows:
        assert 0.85 < row["NIS/7"] < 1.15 and 0.9 < row["inside 95 %"] < 0.98
        assert row["HOTA"] > 0.55


@pytest.mark.slow
def test_the_table_is_made_from_drives(recipe, tmp_path, monkeypatch, capsys):
    words = ["raw_table.py", "train", str(tmp_path), "--minutes", "0.05", "--parts", "1", "--seconds", "0.2"]
    words += ["--held", "9", "--width", "8", "--cell", "1.2", "--batch", "2"]
    words += ["--seeds", "0", "--held_seconds", "0.5", "--one-sweep"]
    for command in ("train", "clusters", "table"):
        words[1] = command
        monkeypatch.setattr(sys, "argv", words)
        recipe.main()
    rows = capsys.readouterr().out
    assert "clusters" in rows and "HOTA" in rows and "ap_car" in rows
    assert math.isfinite((tmp_path / "table.json").stat().st_size)
