"""What a run that tracked shows on its page: tracks from above, and when each was there."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from mambats.pictures.page import Page

#: Outputs that hold a row a track: they are drawn from above and not as curves.
TRACKS = ("identity", "box", "velocity", "covariance", "score", "detection", "silent")
_NEEDED = {"identity", "box", "covariance", "detection"}
#: Frames of a robot that are read; of more every so many-th. Three minutes at ten a second.
MOST_FRAMES = 2000
#: Robots that get pictures.
MOST_ROBOTS = 4


def add_tracks(page: Page, folder: Path, answers: int, kind: str = "tracks") -> bool:
    """Draw the tracks of a run's log.

    Args:
        page: That gets the pictures.
        folder: Of the log.
        answers: Lines of `outputs.jsonl`.
        kind: What is tracked.

    Returns:
        Whether the run tracked.
    """
    robots = dict[int, list[tuple[int, Mapping[str, npt.NDArray[np.float64]]]]]()
    for stamp, row, arrays in _frames(folder / "outputs.jsonl", max(1, math.ceil(answers / MOST_FRAMES))):
        robots.setdefault(row, []).append((stamp, arrays))
    if not robots:
        return False
    page.section("Tracks")
    for row in sorted(robots)[:MOST_ROBOTS]:
        name = f"robot {row}" if len(robots) > 1 else "run"
        _add_robot(page, name, sorted(robots[row], key=lambda frame: frame[0]), kind)
    if len(robots) > MOST_ROBOTS:
        page.words(f"{len(robots) - MOST_ROBOTS} more robots are not drawn.", small=True)
    return True


def _add_robot(
    page: Page, name: str, frames: list[tuple[int, Mapping[str, npt.NDArray[np.float64]]]], kind: str
) -> None:
    from mambats.track.pictures import Scene, draw_above, draw_timeline

    counts = [len(arrays["identity"]) for _, arrays in frames]
    if not sum(counts):
        page.words(f"{name}: no track was told of in {len(frames)} answers.")
        return

    def column(part: str, *shape: int) -> npt.NDArray[np.float64]:
        return np.concatenate([arrays[part].reshape(-1, *shape) for _, arrays in frames])

    identity = column("identity").astype(np.int64)
    scene = Scene(
        name=name, mode="online", classes=(kind,), stamps=np.array([stamp for stamp, _ in frames], np.int64),
        frame=np.repeat(np.arange(len(frames)), counts), boxes=column("box", 7), identity=identity,
        label=np.zeros(len(identity), np.int64), coasting=column("detection") < 0,
        covariance=column("covariance", 7, 7), seen_frame=np.zeros(0, np.int64), seen=np.zeros((0, 7)), nis={},
    )  # fmt: skip
    facts = {"tracks": f"{len(np.unique(identity)):,}", "at once, most": f"{max(counts):,}",
             "answers read": f"{len(frames):,}", "without a detection": f"{scene.coasting.mean():.1%}"}  # fmt: skip
    page.cards(facts)
    with tempfile.TemporaryDirectory() as scratch:
        above = draw_above(scene, Path(scratch) / "above.png").read_bytes()
        lives = draw_timeline(scene, Path(scratch) / "lives.png").read_bytes()
    page.picture(above, f"{name}: from above, the answer with the most tracks; 95 % ellipses, and where they came from")
    page.picture(lives, f"{name}: when which track was told of")


def _frames(file: Path, every: int) -> Iterator[tuple[int, int, dict[str, npt.NDArray[np.float64]]]]:
    """Yield stamp, robot and arrays of every so many-th answer that is a tracker's; broken lines are left out."""
    if not file.is_file():
        return
    with file.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines):
            if number % every == 0 and (frame := _frame(line)) is not None:
                yield frame


def _frame(line: str) -> tuple[int, int, dict[str, npt.NDArray[np.float64]]] | None:
    try:
        found: dict[str, Any] = json.loads(line)
        outputs = cast("dict[str, Any]", found["outputs"])
        if not outputs.keys() >= _NEEDED:
            return None
        arrays = {name: np.asarray(outputs[name], dtype=np.float64) for name in _NEEDED}
        count = len(arrays["identity"])
        for name, shape in (("box", (7,)), ("covariance", (7, 7)), ("detection", ())):
            arrays[name] = arrays[name].reshape(count, *shape)
        return int(found["stamp_ns"]), int(found.get("row", 0)), arrays
    except (json.JSONDecodeError, RecursionError, KeyError, TypeError, ValueError, AttributeError):
        return None
