"""What a robot asks of its sensors about itself: forward speed and yaw rate, as ground truth beside the pose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mambats.formats.error import DataError
from mambats.protocols import Source
from mambats.series import RaggedStream, Recording, Stream

Numbers = npt.NDArray[np.floating]


class OwnMotion:
    """Recordings of another source with the truth `motion`: v [m/s] along the body and w [rad/s] about its z axis.

    Args:
        source: Whose recordings have the truth `pose`, `velocity` and `rate` on one clock, as the simulated robots'.
        every: Of how many rows of these one is asked: 50 of 100 Hz is twice a second.
        stacked: A stream of tables (`lidar`) of which each is laid onto the one `apart` tables before, with a column
            `sweep`, 0 for the earlier and 1 for the later: motion then shows in one table. None for none.
        apart: Tables between two that are laid together.

    Raises:
        DataError: If a number is below 1; from `recordings`, if a truth or the stream is missing.
    """

    def __init__(self, source: Source, every: int = 50, stacked: str | None = None, apart: int = 3) -> None:
        if min(every, apart) < 1:
            raise DataError(f"every is {every}, apart {apart}: both must be at least 1.")
        self.source, self.every, self.stacked, self.apart = source, every, stacked, apart
        self.name = str(getattr(source, "name", type(source).__name__))

    def recordings(self) -> list[Recording]:
        """Return the source's recordings with the new truth."""
        return [self._asked(recording) for recording in self.source.recordings()]

    def _asked(self, recording: Recording) -> Recording:
        truth = recording.truth
        if lost := [name for name in ("pose", "velocity", "rate") if name not in truth]:
            raise DataError(f"recording {recording.name!r} has no truth {lost}, it has {sorted(truth)}.")
        speed = _along(truth["pose"].values[:, 3:], truth["velocity"].values)
        values = np.stack([speed, truth["rate"].values[:, 2].astype(np.float64)], -1)[self.every - 1 :: self.every]
        stamps = truth["pose"].stamps[self.every - 1 :: self.every]
        motion = Stream(stamps, values, ("v", "w"), None, ("m/s", "rad/s"), "base_link")
        ragged = dict(recording.ragged)
        if self.stacked is not None:
            if self.stacked not in ragged:
                raise DataError(f"recording {recording.name!r} has no {self.stacked!r}, it has {sorted(ragged)}.")
            ragged[self.stacked] = stack_tables(ragged[self.stacked], self.apart)
        return replace(recording, ragged=ragged, truth={**truth, "motion": motion})


def stack_tables(stream: RaggedStream, apart: int) -> RaggedStream:
    """Return tables of two: each with the one `apart` before it in front, and a column `sweep`, 0 and 1.

    The first `apart` tables, which have none before them, are left out.

    Raises:
        DataError: If there are not more tables than `apart`.
    """
    if len(stream.stamps) <= apart:
        raise DataError(f"there are {len(stream.stamps)} tables: need more than {apart} to lay two together.")
    tables = np.split(stream.values, stream.splits[1:-1])
    pairs = [pair for k in range(apart, len(tables)) for pair in ((tables[k - apart], 0.0), (tables[k], 1.0))]
    values = np.concatenate([np.pad(rows, ((0, 0), (0, 1)), constant_values=which) for rows, which in pairs])
    sizes = np.diff(stream.splits)
    splits = np.concatenate([[0], np.cumsum(sizes[:-apart] + sizes[apart:])]).astype(np.int64)
    unit = stream.unit if isinstance(stream.unit, str) else (*stream.unit, "")
    return replace(
        stream,
        stamps=stream.stamps[apart:],
        splits=splits,
        values=values,
        channels=(*stream.channels, "sweep"),
        unit=unit,
    )


def _along(quaternion: Numbers, velocity: Numbers) -> npt.NDArray[np.float64]:
    """Return how fast a body goes along its own x axis, from x y z w (T, 4) and the velocity in the world (T, 3)."""
    x, y, z, w = quaternion.T
    ahead = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y + z * w), 2 * (x * z - y * w)], -1)
    return (ahead * velocity).sum(-1).astype(np.float64)
