"""A recording played again: MCAP files, ROS bags and saved recordings as packets in the order of their stamps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from mambats.formats.error import DataError
from mambats.streaming.engine import Engine, Packet

if TYPE_CHECKING:
    from mambats.series import Recording
    from mambats.streaming.sources.opener import SourceOptions


class RecordingSource:
    """Play the streams of a recording that an engine reads, merged by time; among equal stamps in the engine's order.

    Args:
        recording: What to play.
        streams: Channels of the engine's streams, by name; those that only ask (no channels) are left out.
        names: The recording's stream for an engine's stream, where their names differ.

    Raises:
        DataError: If the recording has none of the streams, or one with other channels.
    """

    def __init__(
        self, recording: Recording, streams: Mapping[str, int], names: Mapping[str, str] | None = None
    ) -> None:
        self.rows = 1
        chosen = {name: (names or {}).get(name, name) for name, width in streams.items() if width}
        there = {name: recording.streams[found] for name, found in chosen.items() if found in recording.streams}
        if not there:
            raise DataError(
                f"{recording.name}: has the streams {sorted(recording.streams)}, the model reads {dict(streams)}. Name "
                "which is which with --stream NAME=TOPIC."
            )
        for name, stream in there.items():
            if len(stream.channels) != streams[name]:
                raise DataError(
                    f"{recording.name}: {chosen[name]} has channels {stream.channels}, the model reads {streams[name]} "
                    f"as {name}. Name another with --stream {name}=TOPIC."
                )
        self._streams = there

    def packets(self) -> Iterator[Packet | DataError]:
        """Yield packets in the order of their stamps."""
        names = list(self._streams)
        stamps = np.concatenate([self._streams[name].stamps for name in names])
        ranks = np.concatenate([np.full(len(self._streams[name].stamps), k) for k, name in enumerate(names)])
        places = np.concatenate([np.arange(len(self._streams[name].stamps)) for name in names])
        for at in np.lexsort((ranks, stamps)):
            name, place = names[ranks[at]], places[at]
            stream = self._streams[name]
            values = stream.values[place].astype(np.float32)
            if stream.observed is not None:
                values = np.where(stream.observed[place], values, np.float32(np.nan))
            yield Packet(name, int(stamps[at]), values)


def open_source(place: str, engine: Engine, options: SourceOptions) -> RecordingSource:
    """Read a bag, an MCAP file or a saved recording.

    Raises:
        DataError: If it cannot be read, or lacks the engine's streams.
        ModuleNotFoundError: If what reads it is not installed; says what to install.
    """
    from pathlib import Path

    names = {mine: theirs for mine, theirs in options.names}
    if (Path(place) / "recording.json").is_file():
        from mambats.formats import open_recording

        return RecordingSource(open_recording(Path(place)), engine.streams, names)
    from mambats.formats import read_bag

    return RecordingSource(read_bag(place), engine.streams, names)
