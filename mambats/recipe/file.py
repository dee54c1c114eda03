"""Read a recipe from a YAML file and refuse, before anything is imported, classes it has no business naming.

A recipe names classes by dotted path, so a recipe is code: the command line imports the module a `class_path`
names even when the class does not fit its slot, and some arguments of Lightning and torch call what they are
given (`LambdaCallback`, `LambdaLR`). This reader walks the file as text and lets through only the packages
below, and no name of a function. Recipes of your own making may name anything: `trusted=True`, or `--trusted`
on the command line.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mambats.recipe.describe import ALLOWED, RecipeError

#: Packages a recipe file may name; from a checkpoint only `mambats.recipe.ALLOWED` are built.
FILE_ALLOWED = (
    *ALLOWED,
    "lightning.pytorch.callbacks.",
    "lightning.pytorch.loggers.",
    "lightning.pytorch.profilers.",
    "lightning.pytorch.strategies.",
    "torch.optim.",
)
#: Classes inside them whose arguments are functions to be called.
CALLS_ITS_ARGUMENT = ("Lambda", "MultiplicativeLR")

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_RECIPE_SUFFIXES = (".yaml", ".yml", ".json")
# In place of these the command line would read a further file.
_SECTIONS = ("model", "data", "trainer", "optimizer", "lr_scheduler")
# Slots where a bare text is a class path.
_CLASS_SLOT = re.compile(r"trainer\.(logger|callbacks|profiler|strategy|plugins)(\[\d+\])?")


class _Text(NamedTuple):
    where: str
    value: str
    owner: str


def load_recipe(path: str | Path, *, trusted: bool = False) -> dict[str, Any]:
    """Read a recipe file and check the classes it names, without importing any.

    Args:
        path: YAML or JSON file.
        trusted: Skip the check of class names (a recipe you wrote yourself, with classes of your own).

    Returns:
        The content, plain values.

    Raises:
        RecipeError: If the file is missing, is no YAML mapping, or names what is not allowed.
    """
    file = Path(path)
    content = _read(file)
    if not trusted:
        for text in _texts(content, "", ""):
            _check(text, file)
    return content


def check_recipe(path: str | Path) -> tuple[list[str], list[str]]:
    """Read a recipe file as text and say what it names, and what of it would be refused.

    Args:
        path: YAML or JSON file.

    Returns:
        Class paths it names, in their order, each once, and one message for everything that is not allowed.

    Raises:
        RecipeError: If the file is missing or is no YAML mapping.
    """
    file, named, refused = Path(path), dict[str, None](), list[str]()
    for text in _texts(_read(file), "", ""):
        if text.where.rpartition(".")[2] == "class_path":
            named[text.value] = None
        try:
            _check(text, file)
        except RecipeError as error:
            refused.append(str(error))
    return list(named), refused


def _read(file: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(f"{file}: there is no such recipe. Check the path; recipes lie in recipes/.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: cannot be read as text: {error}. Give a YAML file.") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{file}: is not plain YAML: {error}. Correct the line named.") from error
    if not isinstance(content, Mapping):
        raise RecipeError(f"{file}: holds {type(content).__name__}, a recipe is a mapping of keys to values.")
    return dict(content)


def _texts(value: object, where: str, owner: str) -> Iterator[_Text]:
    """Yield every text in the tree with its dotted place and the class it is an argument of."""
    if isinstance(value, Mapping):
        inner_owner = str(value.get("class_path", owner))
        for key, inner in value.items():
            yield from _texts(inner, f"{where}.{key}" if where else str(key), inner_owner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, f"{where}[{index}]", owner)
    elif isinstance(value, str):
        yield _Text(where, value, owner)


def _check(text: _Text, file: Path) -> None:
    key = text.where.rpartition(".")[2]
    if text.where in _SECTIONS and text.value.endswith(_RECIPE_SUFFIXES):
        raise RecipeError(
            f"{file}: {text.where} reads another file, {text.value!r}. "
            "Give it as a further --config, where it is checked too."
        )
    if key == "class_path" or text.where in _SECTIONS or _CLASS_SLOT.fullmatch(text.where):
        _check_class(text, file)
    # No class of ours takes a function, so its texts are texts: `path: json.csv` is a file.
    elif not text.owner.startswith(ALLOWED) and _names_function(text.value):
        raise RecipeError(
            f"{file}: {text.where} is {text.value!r}, the name of something to call. Recipes hold plain values. "
            "If you wrote this recipe and mean it, add --trusted."
        )


def _check_class(text: _Text, file: Path) -> None:
    # A name without a dot can only mean a class that is already imported.
    known = "." not in text.value or text.value.startswith(FILE_ALLOWED)
    if not known or text.value.rpartition(".")[2].startswith(CALLS_ITS_ARGUMENT):
        raise RecipeError(
            f"{file}: {text.where} is {text.value!r}, which is not of {', '.join(FILE_ALLOWED)} "
            "or calls its arguments. Nothing was imported. "
            "If you wrote this recipe and trust what it names, add --trusted."
        )


def _names_function(value: str) -> bool:
    """Say whether a text reads like `module.name` of a module that is there; looks for it without importing."""
    if not _DOTTED.fullmatch(value) or value.startswith(FILE_ALLOWED):
        return False
    # find_spec of a top-level name does not run it.
    return importlib.util.find_spec(value.partition(".")[0]) is not None
