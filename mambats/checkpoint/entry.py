"""The content: Lightning's dictionary plus one entry, `mambats`, that says as plain values what the tensors are.

The entry holds the recipe of the task, the channels it was trained on and their reference period, so that a
checkpoint alone rebuilds the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from mambats import __version__
from mambats.checkpoint.errors import CheckpointForeignError, CheckpointMismatchError
from mambats.checkpoint.file import FILE, read_checkpoint
from mambats.recipe import RecipeError, Spec, complete, describe, first_difference, rebuild

#: The key of our entry and the version of its layout. A reader refuses another layout than its own.
ENTRY = "mambats"
FORMAT = 1


@dataclass(frozen=True)
class Entry:
    """What a checkpoint says about the task inside it.

    Args:
        recipe: The task as plain values, see `mambats.recipe.describe`.
        channels: Names of the channels, in the order of the model's last axis.
        period_ns: Reference period in nanoseconds: a gap of 1.
        source: Name of the source it was trained on.
        fingerprint: sha256 of the data it was trained on.
        version: Version of mambats that wrote it.
        format: Layout of this entry.
    """

    recipe: Spec
    channels: tuple[str, ...]
    period_ns: int
    source: str = ""
    fingerprint: str = ""
    version: str = __version__
    format: int = FORMAT


def write_entry(
    checkpoint: dict[str, Any],
    task: object,
    channels: Sequence[str],
    period_ns: int,
    *,
    source: str = "",
    fingerprint: str = "",
) -> None:
    """Put the entry of a task into a checkpoint dictionary; call it from `on_save_checkpoint`.

    Args:
        checkpoint: Lightning's dictionary, changed in place.
        task: The task; it must keep its constructor arguments.
        channels: Names of the channels.
        period_ns: Reference period in nanoseconds.
        source: Name of the source.
        fingerprint: sha256 of the data.
    """
    entry = Entry(describe(task), tuple(channels), int(period_ns), source, fingerprint)
    checkpoint[ENTRY] = asdict(entry)


def read_entry(checkpoint: Mapping[str, Any], where: str | Path) -> Entry:
    """Return the entry of a checkpoint dictionary.

    Raises:
        CheckpointForeignError: If it has none, or one of a newer layout.
    """
    raw = checkpoint.get(ENTRY)
    if not isinstance(raw, Mapping):
        raise CheckpointForeignError(
            f"{where}: is a checkpoint of another program (no {ENTRY!r} entry). Give one that `mambats fit` wrote."
        )
    if raw.get("format") != FORMAT:
        raise CheckpointForeignError(
            f"{where}: has layout {raw.get('format')} (written by mambats {raw.get('version', '?')}), this is mambats "
            f"{__version__} and reads layout {FORMAT}. Install the version that wrote it, or train again."
        )
    try:
        entry = Entry(**cast("dict[str, Any]", raw))
    except TypeError as error:
        raise CheckpointForeignError(f"{where}: its {ENTRY!r} entry is not ours: {error}. Train again.") from error
    return entry


def check_same_model(checkpoint: Mapping[str, Any], task: object) -> Entry:
    """Refuse a checkpoint of another model; call it from `on_load_checkpoint`, before tensors are copied.

    Only the part under `model` must agree: a training setting (a learning rate) may change between runs.

    Raises:
        CheckpointForeignError: If it was not written by mambats.
        CheckpointMismatchError: If the model inside differs; names the first difference.
    """
    where = checkpoint.get(FILE, "checkpoint")
    entry = read_entry(checkpoint, where)
    try:
        # An argument added since it was written has its default.
        inside = complete(entry.recipe)
    except RecipeError as error:
        raise CheckpointForeignError(f"{where}: {error}") from error
    difference = first_difference(_model_part(inside), _model_part(describe(task)))
    if difference:
        raise CheckpointMismatchError(
            f"{where}: holds another model: in the checkpoint {difference}. "
            "Give the recipe it was trained with (config.yaml in its run's folder), or another checkpoint."
        )
    return entry


def _model_part(recipe: Spec) -> object:
    args = recipe["init_args"]
    inner = args.get("model") if isinstance(args, Mapping) else None
    return {"class_path": recipe["class_path"], "model": inner}


def load_task(path: str | Path) -> Any:
    """Rebuild the task of a checkpoint, with its weights and its scaler, ready to forecast.

    Args:
        path: Checkpoint written by `mambats fit` or by a Trainer with `mambats.checkpoint.plugin.SafeCheckpointIO`.

    Returns:
        The task (`mambats.forecast.ForecastTask` for a forecaster) in evaluation mode, on the CPU.

    Raises:
        CheckpointError: One of its kinds, each saying what is wrong, where, and what to do.
    """
    checkpoint = read_checkpoint(path)
    entry = read_entry(checkpoint, path)
    try:
        task = rebuild(entry.recipe)
    except RecipeError as error:
        raise CheckpointForeignError(f"{path}: {error}") from error
    task.on_load_checkpoint(checkpoint)
    try:
        task.load_state_dict(checkpoint["state_dict"])
    except (RuntimeError, KeyError) as error:
        raise CheckpointMismatchError(
            f"{path}: its tensors do not fit the model it describes: {error}. Install mambats {entry.version}, "
            "which wrote it, or train again."
        ) from error
    return task.eval()
