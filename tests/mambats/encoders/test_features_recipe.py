"""Extractors are written down as plain values, built again from YAML, and the recipe that shows them runs."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mambats.encoders import (
    CausalEncoder,
    ImageEncoder,
    ImuEncoder,
    ObjectEncoder,
    PillarEncoder,
    PointGrid,
    VoxelEncoder,
)
from mambats.encoders.features import FeatureExtractor
from mambats.mixers import MambaSettings
from mambats.preprocess.imu import Preintegration
from mambats.recipe import describe, rebuild
from mambats.series import SensorRows

SMALL = MambaSettings(state_size=3)
MADE = {
    "pillars": lambda: PillarEncoder(4, 8, PointGrid((-8, -8, -2), (8, 8, 2), (2, 2, 4)), 1),
    "voxels": lambda: VoxelEncoder(4, 8, 2, PointGrid(), ["hilbert", "morton_yx"], SMALL, 50),
    "image": lambda: ImageEncoder(3, 8, 1, (8, 16), 4, "class", "hilbert", SMALL),
    "imu": lambda: ImuEncoder(8, 10**8, Preintegration(1e-3), CausalEncoder(6, 4, 1, mixer=SMALL)),
    "objects": lambda: ObjectEncoder(["x", "y", "z", "score", "class"], 8, ["position", "class"]),
}
ROWS = {"pillars": (9, 4), "voxels": (9, 4), "image": (3, 8, 16), "imu": (6,), "objects": (5, 5)}


def rows(values: Tensor) -> SensorRows:
    batch, time = values.shape[:2]
    stamps = (torch.arange(1, time + 1) * 10**7).expand(batch, time).contiguous()
    return SensorRows(values, torch.ones(batch, time, dtype=torch.bool), torch.ones(batch, time), stamps)


@pytest.mark.parametrize("name", MADE)
def test_an_extractor_is_rebuilt_from_plain_values(name: str) -> None:
    model = MADE[name]()
    again = rebuild(json.loads(json.dumps(describe(model))))
    assert isinstance(again, FeatureExtractor)
    assert isinstance(again, nn.Module)
    again.load_state_dict(model.state_dict())
    given = rows(torch.randn(2, 12, *ROWS[name]))
    assert torch.equal(again.encode_rows(given, 10**9).values, model.encode_rows(given, 10**9).values)
    assert model.encode_rows(given, 10**9).values.shape[2] == model.width


@pytest.mark.parametrize("name", MADE)
def test_yaml_builds_an_extractor(name: str) -> None:
    jsonargparse = pytest.importorskip("jsonargparse")
    parser = jsonargparse.ArgumentParser()
    parser.add_argument("--extractor", type=FeatureExtractor)
    spec = json.loads(json.dumps(describe(MADE[name]())))
    built = parser.instantiate_classes(parser.parse_object({"extractor": spec})).extractor
    assert json.loads(json.dumps(describe(built))) == spec


@pytest.mark.parametrize("show", [pytest.param("imu", marks=pytest.mark.slow), "objects"])
def test_the_recipe_shows_a_table(show: str, tmp_path: Path, monkeypatch, capsys) -> None:
    recipe = Path(__file__).parents[3] / "recipes" / "features.py"
    only = {"imu": "mean sample, 2 Hz", "objects": "all parts"}[show]
    command = [
        str(recipe),
        show,
        "--seeds",
        "0",
        "1",
        "--count",
        "64",
        "--held-out",
        "32",
        "--epochs",
        "1",
        "--only",
        only,
    ]
    monkeypatch.setattr(sys, "argv", [*command, "--out", str(tmp_path / "out.json")])
    runpy.run_path(str(recipe), run_name="__main__")
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1].startswith(only)
    assert printed[-1].count("±") == len(json.loads((tmp_path / "out.json").read_text())["targets"])


RECIPES = Path(__file__).parents[3] / "recipes"
PARTS = [
    ("imu", "imu_preintegrated", {"encoder": None, "room": 24}),
    ("imu", "imu_learned", {"preintegration": None, "room": 24}),
    ("points", "points_unmixed", {"layers": 0, "width": 32}),
    ("points", "points_pillars", {"width": 32, "channels": 7}),
]


@pytest.mark.parametrize(("show", "part", "wanted"), PARTS)
def test_a_part_takes_one_thing_from_a_recipe(show: str, part: str, wanted: dict[str, object]) -> None:
    pytest.importorskip("jsonargparse")
    from mambats.command import recipe

    seen = {}

    class Stop(Exception):
        pass

    class Look(recipe.RecipeCLI):
        def instantiate_classes(self) -> None:
            seen.update(self.config.fit.model.init_args.model.init_args.encoder.init_args.extractors)
            raise Stop

    paths = (RECIPES / "fusion" / f"features_{show}.yaml", RECIPES / "parts" / f"{part}.yaml")
    with pytest.raises(Stop):
        Look(["fit", *(word for path in paths for word in ("--config", str(path)))], "features")
    (extractor,) = seen.values()
    assert {name: extractor.init_args[name] for name in wanted} == wanted
    assert ("Pillar" in extractor.class_path) == ("pillars" in part)


@pytest.mark.slow
@pytest.mark.parametrize("show", ["imu", "points"])
def test_a_recipe_of_extractors_trains_and_is_scored(show: str, tmp_path: Path, capsys) -> None:
    pytest.importorskip("jsonargparse")
    from mambats.cli import main

    robots = "--data.init_args.source.init_args.source.init_args" + (".robots.init_args" if show == "points" else "")
    words = ["--config", str(RECIPES / "fusion" / f"features_{show}.yaml"), "--runs", str(tmp_path)]
    words += [f"{robots}.series", "5", f"{robots}.duration", "2.3", "--trainer.logger", "false"]
    assert main(["fit", *words, "--trainer.max_epochs", "1"]) == 0
    assert main(["test", *words]) == 0
    printed = capsys.readouterr().out
    assert "training mean" in printed and "rmse_w" in printed
