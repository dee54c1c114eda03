"""`mambats check-recipe`: what recipe files name, and what of it is not allowed; nothing is imported."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from mambats.command.door import UsageError
from mambats.recipe import RecipeError, check_recipe

_SUFFIXES = (".yaml", ".yml", ".json")


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"check-recipe: {message}. See mambats check-recipe --help.")


def run(words: list[str], command: str) -> int:
    """Check the files and print a line for each; all are read, whatever the first ones hold.

    Returns:
        0 if every file may be used without `--trusted`, 2 if one may not.
    """
    parser = _Arguments(
        prog=f"mambats {command}", description="Walk recipes as text and refuse what they may not name."
    )
    parser.add_argument(
        "paths", nargs="+", type=Path, help="recipe files, or folders whose .yaml, .yml and .json are read"
    )
    parser.add_argument("--classes", action="store_true", help="list the classes each file names")
    given = parser.parse_args(words)
    bad = 0
    for file in [file for path in given.paths for file in _files(path)]:
        try:
            named, refused = check_recipe(file)
        except RecipeError as error:
            named, refused = [], [str(error)]
        bad += bool(refused)
        print(f"{file}: {'REFUSED' if refused else 'ok'}, names {len(named)} class{'' if len(named) == 1 else 'es'}")
        for name in named if given.classes else ():
            print(f"  {name}")
        for message in refused:
            print(f"mambats: {message}", file=sys.stderr)
    return 2 if bad else 0


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES)
    if not found:
        raise UsageError(f"check-recipe: {path} holds no {', '.join(_SUFFIXES)} file. Check the path.")
    return found
