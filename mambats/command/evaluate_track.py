"""`mambats evaluate track`: score tracks in KITTI's files against labels, by class."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from mambats.command.door import UsageError

if TYPE_CHECKING:  # not imported for --help
    from mambats.track.metrics.similarity import Name

#: Similarity by its short word: its name in mambats.track.metrics, and the least of a match.
SIMILARITIES: dict[str, tuple[Name, float]] = {
    "2d": ("iou_2d", 0.5),
    "3d": ("iou_3d", 0.25),
    "bev": ("iou_bev", 0.25),
    "giou": ("giou_3d", 0.5),
    "centre": ("centre", 0.5),
}
_COUNTS = {"TP", "FP", "FN", "IDSW", "Frag", "labels", "tracks"}


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog.removeprefix('mambats ')}: {message}. See {self.prog} --help.")


def run(words: list[str], command: str) -> int:
    """Run `evaluate track`: read labels and tracks, print a table a family of scores, or JSON."""
    given = _parser().parse_args(words)
    names = [word.strip() for word in given.classes.split(",") if word.strip()]
    chosen = [word.strip() for word in given.sequences.split(",") if word.strip()]
    similarity, least = SIMILARITIES[given.similarity]
    threshold = least if given.threshold is None else given.threshold
    if not 0 < threshold <= 1:
        raise UsageError(f"evaluate track: --threshold is {threshold:g}, needed a similarity above 0, 1 at most.")
    import torch

    from mambats.track.kitti_folder import read_labelled_tracks, read_seqmap
    from mambats.track.metrics.evaluation import evaluate

    torch.set_num_threads(1)  # many small steps: waiting for threads would cost more than they bring
    frames = read_seqmap(given.seqmap) if given.seqmap else None
    sequences = read_labelled_tracks(given.labels, given.tracks, frames, chosen)
    _tell_left_out(given.tracks, {one.name for one in sequences})
    families = evaluate(sequences, names, similarity, threshold)
    title = (
        f"{len(sequences)} sequences, {sum(len(one.labels) for one in sequences):,} frames, similarity {similarity}, "
        f"match from {threshold:g}, {given.mode or 'mode not stated'}"
    )
    print(_as_json(title, families) if given.json else _as_text(title, families))
    return 0


def _tell_left_out(tracks: Path, scored: set[str]) -> None:
    left = sorted({path.stem for path in tracks.glob("*.txt")} - scored)
    if left:
        print(f"not scored, for want of labels or not asked for: {', '.join(left)}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = _Arguments(prog="mambats evaluate", description="Score results against labels.")
    tasks = parser.add_subparsers(dest="task", required=True, parser_class=_Arguments)
    track = tasks.add_parser("track", help="tracks in KITTI's files: HOTA, CLEAR-MOT, IDF1, sAMOTA")
    track.add_argument("--labels", type=Path, required=True, help="folder of labels, one text file a sequence")
    track.add_argument("--tracks", type=Path, required=True, help="folder of tracks, the same names")
    track.add_argument("--classes", default="car,pedestrian,cyclist", help="default car,pedestrian,cyclist")
    track.add_argument(
        "--similarity", choices=tuple(SIMILARITIES), default="2d",
        help="overlap in the picture (2d, the benchmark's), in space, from above, GIoU, or distance of centres",
    )  # fmt: skip
    track.add_argument("--threshold", type=float, help="least similarity of a match (default 0.5; 3d and bev 0.25)")
    track.add_argument("--seqmap", type=Path, help="file of sequences with their number of frames")
    track.add_argument("--sequences", default="", help="only these, as in 0000,0002")
    track.add_argument(
        "--mode", choices=("online", "fixed-lag", "offline"), help="how the tracks were made, for the title"
    )
    track.add_argument("--json", action="store_true", help="print JSON")
    return parser


Families = Mapping[str, Mapping[str, Mapping[str, float]]]


def _as_json(title: str, families: Families) -> str:
    plain = {
        family: {name: {key: _or_none(value) for key, value in scores.items()} for name, scores in by_class.items()}
        for family, by_class in families.items()
    }
    return json.dumps({"title": title, **plain}, indent=2)


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _as_text(title: str, families: Families) -> str:
    return "\n\n".join([title, *(f"{family}\n{_table(by_class)}" for family, by_class in families.items())])


def _table(by_class: Mapping[str, Mapping[str, float]]) -> str:
    names = list(next(iter(by_class.values())))
    lines = [["class", *names]]
    lines += [[name, *(_cell(key, scores[key]) for key in names)] for name, scores in by_class.items()]
    return "\n".join(_aligned(lines))


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    padded = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines]
    return ["  ".join(cells) for cells in padded]


def _cell(name: str, value: float) -> str:
    """Return shares in per cent with two digits, as the benchmarks print them, and counts whole."""
    if not math.isfinite(value):
        return "-"
    if name in _COUNTS:
        return f"{value:.0f}"
    return f"{value:.3f}" if name.endswith(" m") or name.endswith(" s") or name == "score" else f"{100 * value:.2f}"
