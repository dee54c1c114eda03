"""Detections in KITTI's text files played again, a frame a packet: kitti:FILE, at KITTI's ten frames a second."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mambats.formats.error import DataError
from mambats.streaming.engine import Engine, Packet
from mambats.streaming.engines.frame import DETECTIONS, pack_frame, room_of

if TYPE_CHECKING:
    from mambats.streaming.sources.opener import SourceOptions
    from mambats.track.objects import Objects


class FrameSource:
    """Play the frames of a sequence's detections; an empty frame is a packet, too.

    Args:
        objects: Detections of one class.
        most: Detections that a packet has room for.
    """

    rows = 1

    def __init__(self, objects: Objects, most: int) -> None:
        self.objects, self.most = objects, most

    def packets(self) -> Iterator[Packet | DataError]:
        """Yield packets in the order of time."""
        ends, boxes = self.objects.splits.tolist(), self.objects.boxes.numpy()
        score = None if self.objects.score is None else self.objects.score.numpy()
        for at, stamp in enumerate(self.objects.stamps.tolist()):
            begin, end = ends[at], ends[at + 1]
            mine = None if score is None else score[begin:end]
            yield Packet(DETECTIONS, stamp, pack_frame(boxes[begin:end], mine, self.most))


def open_source(place: str, engine: Engine, options: SourceOptions) -> FrameSource:
    """Open a file of detections as `mambats track` reads them.

    Raises:
        DataError: If the engine reads no frames of detections, or the file cannot be used or lacks the tracker's class.
    """
    if DETECTIONS not in engine.streams:
        raise DataError(
            f"kitti:{place}: holds frames of detections, the model reads {list(engine.streams)}. Give --tracker RECIPE."
        )
    from mambats.formats.kitti import read_detections
    from mambats.track.kitti import from_kitti

    objects, kind = from_kitti(read_detections(place)), getattr(engine, "kind", None)
    if kind is not None:
        found = sorted({objects.classes[label] for label in objects.labels.tolist()})
        if found and kind not in found:
            raise DataError(f"{place}: holds {', '.join(found)}, the recipe follows {kind!r}: take another.")
        objects = objects.of_class(kind)
    return FrameSource(objects, room_of(engine.streams[DETECTIONS]))
