"""`mambats check-recipe`: every recipe of the repository passes, what calls code does not, and nothing is imported."""

import sys
from pathlib import Path

import pytest

from mambats.cli import main

RECIPES = Path(__file__).parents[2] / "recipes"


def test_every_recipe_of_ours_may_be_used(capsys):
    assert main(["check-recipe", str(RECIPES)]) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == len([*RECIPES.rglob("*.yaml")]) and all(": ok," in line for line in told)


def test_all_that_is_wrong_is_told_at_once_and_nothing_imported(tmp_path, capsys, monkeypatch):
    (tmp_path / "payload_of_recipe.py").write_text("raise SystemExit('ran')")
    monkeypatch.syspath_prepend(str(tmp_path))
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        "model: {class_path: payload_of_recipe.Model}\n"
        "trainer:\n  callbacks:\n    - class_path: lightning.pytorch.callbacks.LambdaCallback\n"
        "      init_args: {on_fit_start: os.system}\n"
    )
    (tmp_path / "good.yaml").write_text("model: {class_path: mambats.forecast.ForecastTask}\n")
    assert main(["check-recipe", "--classes", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert "bad.yaml: REFUSED, names 2 classes" in out and "good.yaml: ok, names 1 class" in out
    assert "  mambats.forecast.ForecastTask" in out
    assert err.count("mambats: ") == 3  # two classes, and the function by name
    assert "payload_of_recipe" not in sys.modules


@pytest.mark.parametrize("words", [[], ["EMPTY"], ["--deep", "x.yaml"]])
def test_a_wrong_command_line_is_one_message(words, tmp_path, capsys):
    assert main(["check-recipe", *[str(tmp_path) if word == "EMPTY" else word for word in words]]) == 2
    assert capsys.readouterr().err.startswith("mambats: check-recipe: ")
