"""A recording: streams that belong together, their frames, facts and ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mambats.series.frames import FrameTree
from mambats.series.images import ImageStream
from mambats.series.ragged import RaggedStream
from mambats.series.stream import Stream


@dataclass(frozen=True)
class Recording:
    """Streams that belong together (one series, one drive), with facts that do not change.

    Args:
        name: Identifier, unique within a source (`unique_id` of a long table).
        streams: Streams by name. Forecasting reads `target`, and where present `past` (covariates known up to
            now) and `future` (covariates known in advance). Sensors have the names users know: `imu`, `gnss`, `wheel`.
        static: Facts that hold for the whole recording, numbers by name.
        ragged: Streams of tables by name (`lidar`, `detections`).
        images: Streams of pictures by name (`camera`).
        frames: Where the sensors sit: the calibration tree.
        truth: Ground truth by name (`pose`), never an input.
        repairs: What a reader changed, in words: one line a kind of fault, with the number of rows. Empty when the
            file was taken as it is.

    Raises:
        ValueError: If two streams share a name.
    """

    name: str
    streams: Mapping[str, Stream]
    static: Mapping[str, float] = field(default_factory=dict[str, float])
    ragged: Mapping[str, RaggedStream] = field(default_factory=dict[str, RaggedStream])
    images: Mapping[str, ImageStream] = field(default_factory=dict[str, ImageStream])
    frames: FrameTree = field(default_factory=FrameTree)
    truth: Mapping[str, Stream] = field(default_factory=dict[str, Stream])
    repairs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check names."""
        names = [*self.streams, *self.ragged, *self.images]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{self.name} has two streams named {twice}: name each once among all kinds.")
