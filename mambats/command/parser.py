"""The parser of recipes: errors go to the error door instead of a page of usage."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from mambats.recipe import RecipeError, load_recipe

_CONFIG = ("--config", "-c")
_TRUST = "--trusted"


class RecipeParser(LightningArgumentParser):
    """Lightning's parser with one message for a mistake."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise a RecipeError that says what is wrong and where help is.

        Raises:
            RecipeError: Always.
        """
        raise RecipeError(f"{_tidy(message)} (`mambats COMMAND --help` lists the keys.)") from ex


def checked_words(words: Sequence[str]) -> tuple[list[str], str | None]:
    """Check the recipe files named on a command line before anything in them is imported.

    Args:
        words: Command line without the command; `--trusted` among them skips the check.

    Returns:
        The words without `--trusted`, and the run's name: the last `name` in a recipe, else the first file's stem.

    Raises:
        RecipeError: If a file is missing, not plain YAML, or names what it may not.
    """
    trusted = _TRUST in words
    kept = [word for word in words if word != _TRUST]
    name: str | None = None
    for index, file in enumerate(_config_files(kept)):
        content = load_recipe(file, trusted=trusted)
        if isinstance(content.get("name"), str):
            name = str(content["name"])
        elif index == 0:
            name = Path(file).stem
    return kept, name


def dump(parser: LightningArgumentParser, config: Any) -> str:
    """Return a resolved recipe as YAML, with what is None written out."""
    # jsonargparse 4.49 renamed the switch and warns about the old name.
    switch = "skip_unset" if "skip_unset" in inspect.signature(parser.dump).parameters else "skip_none"
    options: dict[str, Any] = {switch: False}
    return str(parser.dump(config, **options))


def _config_files(words: Sequence[str]) -> list[str]:
    files = [after for word, after in pairwise(words) if word in _CONFIG]
    joined = [word.partition("=")[2] for word in words if word.startswith(tuple(f"{c}=" for c in _CONFIG))]
    return files + joined


def _tidy(message: str) -> str:
    """Make one paragraph of jsonargparse's indented reasons."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return re.sub(r"\s+", " ", " ".join(lines))
