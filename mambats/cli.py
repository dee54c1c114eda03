"""The command line. Nothing heavy is imported until a command is chosen, so that help answers at once."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from mambats import __version__
from mambats.command.door import UsageError, through

#: Commands by name: the module whose `run(args, command)` serves it, and what it does in a line.
COMMANDS = {
    "fit": ("mambats.command.recipe", "train the model of a recipe"),
    "validate": ("mambats.command.recipe", "score a trained model on the validation rows"),
    "test": (
        "mambats.command.recipe",
        "score it on the test rows beside simple baselines; table, pictures, results.json",
    ),
    "predict": ("mambats.command.recipe", "write forecasts of the newest rows to Parquet or CSV"),
    "export": ("mambats.command.export", "write a bundle of a trained forecaster that runs without torch, verified"),
    "run": ("mambats.command.run", "run a bundle or a checkpoint on a stream of measurements, live or replayed"),
    "stream": ("mambats.command.stream", "read rows, write a forecast after each, one step at a time"),
    "report": ("mambats.command.report", "write one self-contained HTML page of a run"),
    "degrade": ("mambats.command.degrade", "break one sensor of a navigator at a time and score what is left"),
    "track": ("mambats.command.track", "follow bodies through detections in KITTI's formats, write their tracks"),
    "evaluate": ("mambats.command.evaluate_track", "score tracks against labels: HOTA, CLEAR-MOT, IDF1, sAMOTA"),
    "data": (
        "mambats.command.data_run",
        "show or convert recordings of any robot: data info PATH, data convert PATH OUT",
    ),
    "check-recipe": (
        "mambats.command.check_recipe",
        "walk recipes as text, importing nothing, and say what they may not name",
    ),
    "doctor": ("mambats.command.doctor", "show versions, devices and back-ends; check that parallel and step agree"),
    "demo": (
        "mambats.command.demo",
        "train, score and run two small models step by step: a forecaster, a fusion of sensors",
    ),
}

HELP = f"""usage: mambats COMMAND [--config RECIPE.yaml ...] [--KEY VALUE ...]

mambats {__version__}: state-space (Mamba) models, trained in parallel and run one measurement at a time.

commands:
{chr(10).join(f"  {name:<13}{line}" for name, (_, line) in COMMANDS.items())}

first steps:
  mambats demo
  mambats fit  --config recipes/forecast/table.yaml --data.source.init_args.path FILE.csv
  mambats test --config recipes/forecast/table.yaml --data.source.init_args.path FILE.csv

Several --config are stacked from left to right; keys after them win. `mambats COMMAND --help` lists all keys.
Everything of a run lies under runs/NAME/. Exit codes: 0 done, 1 a defect of mambats, 2 your input, 130 interrupted.
"""


def main(args: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        args: Words after the program's name; the process's own where None.

    Returns:
        Exit code: 0 done, 1 a defect of ours (with traceback), 2 the user's input (one message), 130 interrupted.
    """
    words = list(sys.argv[1:] if args is None else args)
    return through(lambda: _dispatch(words))


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        print(f"mambats {__version__}")
        return 0
    if words[0] not in COMMANDS:
        raise UsageError(f"there is no command {words[0]!r}. Commands are {', '.join(COMMANDS)}; see mambats --help.")
    return importlib.import_module(COMMANDS[words[0]][0]).run(words[1:], words[0])


if __name__ == "__main__":
    sys.exit(main())
