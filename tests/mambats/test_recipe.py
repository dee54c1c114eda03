"""Recipes as data: written down, built again, and refused where they name what they may not."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from mambats import recipe
from mambats.recipe import RecipeError, describe, first_difference, load_recipe, rebuild


@dataclass(frozen=True)
class Settings:
    state_size: int = 16
    rates: tuple[float, ...] = (0.1, 0.9)


class Layer(nn.Module):
    def __init__(self, width: int, settings: Settings | None = None, file: Path | None = None):
        super().__init__()
        self.width, self.settings, self.file = width, settings, file
        self.linear = nn.Linear(width, width)


class Stack(nn.Module):
    def __init__(self, layers: list[Layer], options: dict[str, float]):
        super().__init__()
        self.layers, self.options = layers, options


class Forgets:
    def __init__(self, width: int):
        self.size = width


class Holds:
    def __init__(self, thing: object):
        self.thing = thing


@pytest.fixture(autouse=True)
def ours(monkeypatch):
    """Put the stand-in classes of this file into a module of ours, as if they were written there."""
    import sys
    import types

    module = types.ModuleType("mambats.standin")
    for cls in (Settings, Layer, Stack, Forgets, Holds):
        monkeypatch.setattr(cls, "__module__", "mambats.standin")
        setattr(module, cls.__name__, cls)
    module.torch = torch
    module.Path = Path
    monkeypatch.setitem(sys.modules, "mambats.standin", module)


def test_a_tree_of_objects_is_written_down_and_built_again():
    stack = Stack([Layer(3, Settings(8)), Layer(2, file=Path("a.csv"))], {"rate": 0.5})
    spec = describe(stack)
    assert spec["class_path"] == "mambats.standin.Stack"
    again = rebuild(spec)
    assert isinstance(again, Stack) and again.options == {"rate": 0.5}
    assert again.layers[0].settings == Settings(8) and again.layers[1].settings is None
    assert describe(again) == spec


def test_a_description_survives_a_checkpoint_read_without_pickles(tmp_path):
    spec = describe(Stack([Layer(3, Settings())], {}))
    torch.save(spec, tmp_path / "spec.pt")
    assert torch.load(tmp_path / "spec.pt", weights_only=True) == spec


def test_the_shortest_public_path_is_written(monkeypatch):
    import mambats

    monkeypatch.setattr(mambats, "Settings", Settings, raising=False)
    assert recipe.class_path(Settings) == "mambats.Settings"


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: Forgets(3), "does not keep its argument 'width'"),
        (lambda: Holds(print), "thing is <built-in function print>"),
        (lambda: Holds(nn.Linear(1, 1)), "torch.nn"),
        (lambda: Holds(float), "holds numbers"),
        (lambda: Holds({"class_path": 1}), "none of them 'class_path'"),
    ],
)
def test_what_cannot_be_written_down_is_refused_by_name(build, said):
    with pytest.raises(RecipeError, match=said):
        describe(build())


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"class_path": "subprocess.Popen", "init_args": {"args": "true"}}, "not of an allowed package"),
        ({"class_path": "mambatsx.Popen"}, "not of an allowed package"),
        ({"class_path": "mambats.standin.Path"}, "names no class"),
        ({"class_path": "mambats.standin.torch"}, "names no class"),
        ({"class_path": "mambats.standin.Nothing"}, "names no class"),
        ({"class_path": "mambats.nowhere.Thing"}, "Check the spelling"),
        ({"class_path": "mambats.standin.Layer", "init_args": {"widht": 3}}, "refuses its arguments"),
        ({"class_path": "mambats.standin.Layer", "args": {}}, "nothing else"),
        ({"class_path": 3}, "nothing else"),
    ],
)
def test_what_may_not_be_built_is_refused(spec, said):
    with pytest.raises(RecipeError, match=said):
        rebuild(spec)


def test_the_first_difference_is_named():
    old = describe(Layer(3, Settings(8)))
    new = describe(Layer(3, Settings(4)))
    assert first_difference(old, describe(Layer(3, Settings(8)))) is None
    assert "state_size is 8, here 4" in str(first_difference(old, new))
    assert first_difference({"a": (1, 2)}, {"a": [1, 2]}) is None
    assert "2 entries, here 1" in str(first_difference({"a": [1, 2]}, {"a": [1]}))
    assert "b is 'absent', here 1" in str(first_difference({}, {"b": 1}))


def test_arguments_a_class_got_since_are_filled_with_their_defaults():
    old = {"class_path": "mambats.standin.Layer", "init_args": {"width": 3}}
    assert recipe.complete([old]) == [describe(Layer(3))]
    assert old["init_args"] == {"width": 3}


GOOD = """
name: x
model: {class_path: mambats.forecast.ForecastTask, init_args: {loss: mse}}
data: {class_path: WindowDataModule, init_args: {source: {class_path: mambats.data.Table, init_args: {path: os.csv2}}}}
trainer:
  callbacks: [{class_path: lightning.pytorch.callbacks.EarlyStopping, init_args: {monitor: val.mse}}]
"""


def test_a_recipe_of_ours_is_read(tmp_path):
    (tmp_path / "r.yaml").write_text(GOOD.replace("os.csv2", "table.csv"))
    assert load_recipe(tmp_path / "r.yaml")["name"] == "x"


@pytest.mark.parametrize(
    "text",
    [
        "model: {class_path: subprocess.Popen}",
        "data: {source: {class_path: payload.Source}}",
        "model: payload.Model",
        "model: payload.yaml",
        "trainer: {callbacks: [{class_path: lightning.pytorch.callbacks.LambdaCallback}]}",
        "trainer: {callbacks: [payload.Callback]}",
        "trainer: {logger: payload.Logger}",
        "lr_scheduler: {class_path: torch.optim.lr_scheduler.LambdaLR, init_args: {lr_lambda: os.system}}",
        "trainer: {callbacks: [{class_path: EarlyStopping, init_args: {monitor: os.system}}]}",
        "model: !!python/object/apply:os.system ['true']",
        "- a list",
        "a: [unclosed",
    ],
)
def test_a_recipe_that_names_code_is_refused_before_import(tmp_path, monkeypatch, text):
    (tmp_path / "payload.py").write_text("raise SystemExit('the payload ran')")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(RecipeError, match=r"r\.yaml"):
        load_recipe(tmp_path / "r.yaml")


def test_a_trusted_recipe_may_name_anything(tmp_path):
    (tmp_path / "r.yaml").write_text("model: {class_path: mine.Model}")
    assert load_recipe(tmp_path / "r.yaml", trusted=True)["model"] == {"class_path": "mine.Model"}


def test_a_missing_recipe_says_so(tmp_path):
    with pytest.raises(RecipeError, match="there is no such recipe"):
        load_recipe(tmp_path / "none.yaml")
