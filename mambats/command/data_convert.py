"""`mambats data convert`: recordings of any known format to one of those that can be written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from mambats.command.door import UsageError
from mambats.formats.error import DataError
from mambats.series import Recording, Stream

POSE = ("px", "py", "pz", "qx", "qy", "qz", "qw")
#: Formats that are written, and the endings of a file that stand for them.
TARGETS = {"recording": "", "mcap": ".mcap", "csv": ".csv", "tum": ".tum", "kitti": ".txt"}
T = TypeVar("T")


def convert(path: Path, out: Path, to: str | None, *, repair: bool, overwrite: bool, names: Mapping[str, str]) -> None:
    """Convert what is at a path, and print what was written.

    Args:
        path: File or folder of any known format.
        out: File or folder to write; of several recordings a folder that holds one each.
        to: One of `TARGETS`, or None to take it from the ending of `out`.
        repair: Repair faults where that can be done, instead of refusing them.
        overwrite: Replace what is there.
        names: New names of streams by old ones.

    Raises:
        DataError: If it cannot be read, or holds nothing that the format can say.
        UsageError: If there is something at `out`, or a name is not there.
    """
    from mambats.formats.opener import open_any
    from mambats.formats.repair import REFUSE, REPAIR

    target = to or target_of(out)
    if out.exists() and not overwrite:
        raise UsageError(f"data convert: {out} is there already. Name another one, or add --overwrite.")
    recordings = [rename(one, names) for one in open_any(path, REPAIR if repair else REFUSE)]
    if len(recordings) == 1:
        places = [out]
    else:
        places = [out / f"{number}_{_plain(one.name)}{TARGETS[target]}" for number, one in enumerate(recordings)]
    for recording, place in zip(recordings, places, strict=True):
        for line in recording.repairs:
            print(f"note: {line}")
        for line in _write(recording, place, target, overwrite):
            print(line)


def target_of(out: Path) -> str:
    """Return the format that the ending of a path stands for; none stands for a folder of ours."""
    found = [name for name, ending in TARGETS.items() if ending == out.suffix.lower() and name != "kitti"]
    if not found:
        raise UsageError(f"data convert: what is {out.suffix!r}? Say --to {', '.join(TARGETS)}.")
    return found[0]


def rename(recording: Recording, names: Mapping[str, str]) -> Recording:
    """Give streams of a recording other names; a topic may be named with its first slash.

    Raises:
        UsageError: If there is no stream of an old name.
    """
    there = [*recording.streams, *recording.ragged, *recording.images, *recording.truth]
    plain = {old.strip("/"): new for old, new in names.items()}
    if missing := [old for old in plain if old not in {name.strip("/") for name in there}]:
        raise UsageError(f"data convert: there is no stream {missing[0]!r}, streams are {', '.join(there)}.")

    def each(streams: Mapping[str, T]) -> dict[str, T]:
        return {plain.get(name.strip("/"), name): stream for name, stream in streams.items()}

    return replace(
        recording,
        streams=each(recording.streams),
        ragged=each(recording.ragged),
        images=each(recording.images),
        truth=each(recording.truth),
    )


def _write(recording: Recording, place: Path, target: str, overwrite: bool) -> Sequence[str]:
    if target == "recording":
        from mambats.formats.store import save_recording

        return [f"wrote {save_recording(recording, place, overwrite=overwrite)}"]
    if target == "mcap":
        from mambats.formats.bags import write_mcap

        return [*write_mcap(recording, place), f"wrote {place}"]
    if target == "csv":
        return _csv(recording, place)
    poses = {name: s for name, s in [*recording.streams.items(), *recording.truth.items()] if s.channels == POSE}
    if not poses:
        raise DataError(f"{recording.name}: has no stream of {' '.join(POSE)}, which {target} holds.")
    paths = [place] if len(poses) == 1 else [place.with_name(f"{place.stem}_{_plain(n)}{place.suffix}") for n in poses]
    place.parent.mkdir(parents=True, exist_ok=True)
    return [_pose(pose, path, target) for pose, path in zip(poses.values(), paths, strict=True)]


def _pose(pose: Stream, path: Path, target: str) -> str:
    if target == "tum":
        from mambats.formats.tum import write_tum

        return f"wrote {write_tum(path, pose)}"
    from mambats.formats.kitti import write_poses

    return f"wrote {write_poses(path, pose, path.with_name(f'{path.stem}_times.txt'))}"


def _csv(recording: Recording, place: Path) -> list[str]:
    from mambats.formats.sensor_csv import write_sensor_csv

    truth = {f"truth/{name}": stream for name, stream in recording.truth.items()}
    whole = replace(recording, streams={**recording.streams, **truth})
    if not whole.streams:
        raise DataError(f"{recording.name}: has no rows of numbers, which are what CSV holds. Convert to a recording.")
    place.parent.mkdir(parents=True, exist_ok=True)
    left = [*recording.ragged, *recording.images]
    lines = [f"{name}: CSV holds rows of numbers only; it was left out." for name in left]
    return [*lines, f"wrote {write_sensor_csv(place, whole)}"]


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name)
