"""The parser of recipes: errors go to the error door instead of a page of usage."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from mambats.recipe import RecipeError, load_recipe

_CONFIG = ("--config", "-c")
_TRUST = "--trusted"
#: `--data.root FOLDER` is short for the root of the source: what a user with the files already gives most.
_ROOT, _SOURCE_ROOT = re.compile(r"^--data\.root(?==|$)"), "--data.init_args.source.init_args.root"
#: How jsonargparse begins when none of the types a slot allows fits.
WRAPPED = "Does not validate against any of the Union subtypes"
_HELP = "Check the spelling; `mambats COMMAND --help` lists the keys."
# Lines of jsonargparse that repeat what was given or name types.
_NOISE = re.compile(r"Subtypes:|Errors:|- Expected a <class 'NoneType'>|Given value|Problem with given class_path.*:$")
_PLACE = re.compile(r'[\s-]*(?:Parser key "([^"]+)"|([\w.]+)):\s+')


class RecipeParser(LightningArgumentParser):
    """Lightning's parser with one message for a mistake, and no guessing at shortened keys."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # argparse would take --trainer.max_epoch for --trainer.max_epochs, and so train by a typo.
        kwargs["allow_abbrev"] = False
        super().__init__(*args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise a RecipeError that says what is wrong and where help is.

        Raises:
            RecipeError: Always.
        """
        raise RecipeError(f"{tidy(message)}. {_HELP}") from ex


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
    kept = [_ROOT.sub(_SOURCE_ROOT, word) for word in words if word != _TRUST]
    name: str | None = None
    for index, file in enumerate(_config_files(kept)):
        content = load_recipe(file, trusted=trusted)
        if isinstance(content.get("name"), str):
            name = str(content["name"])
        elif index == 0:
            name = Path(file).stem
    return kept, name


def locate(message: str, words: Sequence[str]) -> str:
    """Put file and line before a message that quotes a key or a value of a recipe file.

    Args:
        message: Words of the parser; the name it complains of stands in quotes.
        words: Command line, for the recipe files on it.
    """
    quoted = re.findall(r"'([\w.]+)'", message)
    if not quoted:
        return message
    wanted = re.compile(rf"(?<![\w]){re.escape(quoted[-1].rpartition('.')[2])}(?![\w])")
    for file in reversed(_config_files(words)):
        for number, line in enumerate(Path(file).read_text(encoding="utf-8").splitlines(), 1):
            if wanted.search(line.partition("#")[0]):
                return f"{file}, line {number}: {message}"
    return message


def dump(parser: LightningArgumentParser, config: Any) -> str:
    """Return a resolved recipe as YAML, with what is None written out."""
    # jsonargparse 4.49 renamed the switch and warns about the old name.
    renamed = tuple(int(part) for part in version("jsonargparse").split(".")[:2]) >= (4, 49)
    switch = "skip_unset" if renamed else "skip_none"
    options: dict[str, Any] = {switch: False}
    return str(parser.dump(config, **options))


def _config_files(words: Sequence[str]) -> list[str]:
    files = [after for word, after in pairwise(words) if word in _CONFIG]
    joined = [word.partition("=")[2] for word in words if word.startswith(tuple(f"{c}=" for c in _CONFIG))]
    return files + joined


def tidy(message: str) -> str:
    """Make one sentence of jsonargparse's nested reasons: the dotted place, then what is wrong there."""
    text = message.replace(_HELP, "")
    lines = [line.strip() for line in text.splitlines() if not _NOISE.match(line.strip())]
    text = re.sub(r"\s+", " ", " ".join(line for line in lines if line))
    text = text.replace(WRAPPED, "")
    keys: list[str] = []
    while found := _PLACE.match(text):
        # Each level of nesting repeats where it stands.
        key = found[1] or found[2]
        if not keys or keys[-1] != key:
            keys.append(key)
        text = text[found.end() :]
    place = f"{'.'.join(keys)}: " if keys else ""
    return f"{place}{text.strip().lstrip('- ').rstrip('.')}"
