"""Labels and tracks of many sequences out of KITTI's folders: one text file a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mambats.formats.error import DataError
from mambats.formats.kitti.boxes import CLASSES, FRAME, count_frames, to_stream
from mambats.formats.kitti.rows import Rows
from mambats.formats.kitti.tracking import track_rows
from mambats.track.kitti import from_kitti
from mambats.track.objects import Objects


@dataclass(frozen=True)
class LabelledTracks:
    """One sequence to score.

    Args:
        name: Of its files, without the ending.
        labels: What is there.
        tracks: What was tracked, of the same frames.
    """

    name: str
    labels: Objects
    tracks: Objects


def read_labelled_tracks(
    labels: Path, tracks: Path, frames: dict[str, int] | None = None, names: Sequence[str] = ()
) -> list[LabelledTracks]:
    """Read labels and tracks, a file NAME.txt in either folder for every sequence.

    Args:
        labels: Folder of labels (`label_02`).
        tracks: Folder of results in the same columns, with a score.
        frames: Frames by sequence, as `read_seqmap` gives them: these are read. None: every sequence that has labels,
            up to its last frame that has any.
        names: Sequences to read of these; none for all.

    Raises:
        DataError: If a folder or a file is missing, a row cannot be used, tracks have frames that labels have not, an
            identity stands twice in a frame, or a sequence has no frames; names file and line.
    """
    for folder, word in ((labels, "labels"), (tracks, "tracks")):
        if not folder.is_dir():
            raise DataError(f"{folder}: there is no such folder of {word}. Give one that holds a text file a sequence.")
    known = sorted(frames) if frames is not None else sorted(path.stem for path in labels.glob("*.txt"))
    if unknown := sorted(set(names) - set(known)):
        raise DataError(f"{labels}: has no sequence {', '.join(unknown)}, there are {', '.join(known) or 'none'}.")
    chosen = list(names) or known
    if not chosen:
        raise DataError(f"{labels}: holds no text file, needed NAME.txt for every sequence.")
    return [_read_one(name, labels, tracks, (frames or {}).get(name)) for name in chosen]


def read_seqmap(path: Path) -> dict[str, int]:
    """Read how many frames each sequence has: lines of name, a word, first frame, number of frames.

    Raises:
        DataError: If a line is not of this form or a sequence stands twice; names file and line.
    """
    found = dict[str, int]()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        cells = line.split()
        if not cells:
            continue
        if len(cells) != 4 or not cells[3].isdigit():
            raise DataError(f"{path}, line {number}: is {line!r}, needed four words as in '0001 empty 000000 000447'.")
        if cells[0] in found:
            raise DataError(f"{path}, line {number}: names sequence {cells[0]} again. Remove one of the lines.")
        found[cells[0]] = int(cells[3])
    if not found:
        raise DataError(f"{path}: names no sequence, needed lines as '0001 empty 000000 000447'.")
    return found


def _read_one(name: str, labels: Path, tracks: Path, frames: int | None) -> LabelledTracks:
    label_rows = track_rows(labels / f"{name}.txt")
    count = count_frames([label_rows], frames)
    if not count:
        raise DataError(
            f"{label_rows.path}: the sequence has no frames. Leave it out, or say their number in a seqmap."
        )
    track_file = tracks / f"{name}.txt"
    if not track_file.is_file():
        raise DataError(f"{track_file}: is missing. Where nothing was tracked, write an empty file.")
    rows = track_rows(track_file)
    if frames is None:
        late = rows.column("frame") >= count
        rows.refuse(
            late,
            lambda row: (
                f"frame is {rows.column('frame')[row]:g}, the labels end at frame {count - 1}. If the sequence "
                "is longer, say so in a seqmap"
            ),
        )
    return LabelledTracks(name, _objects(label_rows, count), _objects(rows, count))


def _objects(rows: Rows, frames: int) -> Objects:
    _check_once(rows)
    return from_kitti(to_stream(rows.columns, rows.values, count_frames([rows], frames), FRAME, CLASSES))


def _check_once(rows: Rows) -> None:
    """Refuse an identity that stands twice in a frame; below 0 stands for none."""
    frame, track = rows.column("frame"), rows.column("track")
    order = np.lexsort((track, frame))
    twice = np.zeros(len(order), dtype=np.bool_)
    same = (np.diff(frame[order]) == 0) & (np.diff(track[order]) == 0) & (track[order][1:] >= 0)
    twice[order[1:][same]] = True
    rows.refuse(twice, lambda row: f"track {track[row]:g} stands twice in frame {frame[row]:g}: a body is in one place")
