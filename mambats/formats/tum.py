"""TUM trajectories: one pose a line, `seconds px py pz qx qy qz qw`, lines of comment begin with #.

Source: https://cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from mambats.formats.error import DataError
from mambats.formats.layout import POSE, Made, make_stream
from mambats.formats.repair import REFUSE, Policy
from mambats.formats.seconds import ns_to_text
from mambats.formats.sheet import Sheet, read_sheet
from mambats.series import Recording, Stream


def read_tum(path: Path | str, policy: Policy = REFUSE) -> Recording:
    """Read a trajectory as stream `pose` (`px py pz qx qy qz qw`), in frame `map`.

    Raises:
        DataError: If the file is not such a table or has a fault that the policy refuses.
    """
    file = Path(path)
    sheet = read_sheet(file, policy)
    made = tum_pose(sheet, policy)
    return Recording(file.name.split(".")[0], {"pose": made.stream}, repairs=(*sheet.repairs, *made.repairs))


def tum_pose(sheet: Sheet, policy: Policy) -> Made:
    """Make the stream of a sheet in this layout.

    Raises:
        DataError: If it has not eight columns, or a fault that the policy refuses.
    """
    if sheet.width != 8:
        raise DataError(
            f"{sheet.path}: {sheet.width} columns, needed the 8 of a TUM trajectory: seconds px py pz qx qy qz qw."
        )
    return make_stream(sheet.stamps(0, "s"), sheet.numbers(range(1, 8)), POSE, sheet.place, policy, frame="map")


def write_tum(path: Path | str, pose: Stream, digits: int = 9) -> Path:
    """Write poses so that reading gives the same numbers back; rows that were not fully observed are left out.

    Args:
        path: Where.
        pose: Channels `px py pz qx qy qz qw`.
        digits: Decimals of the seconds; nine keep the nanosecond.

    Raises:
        DataError: If the channels are others, or fewer digits make stamps equal.
    """
    if pose.channels != POSE.channels:
        raise DataError(f"{path}: channels are {pose.channels}, needed {POSE.channels}.")
    whole = np.isfinite(pose.values).all(axis=1)
    times = ns_to_text(pose.stamps[whole], digits)
    if times.n_unique() < len(times):
        raise DataError(f"{path}: with {digits} digits several stamps are the same. Write more digits.")
    frame = pl.DataFrame({"t": times} | dict(zip(pose.channels, pose.values[whole].T, strict=True)))
    body = frame.write_csv(separator=" ", include_header=False)
    file = Path(path)
    file.write_text("# timestamp px py pz qx qy qz qw\n" + body)
    return file
