"""tf2_msgs/TFMessage: static transforms to the calibration tree, moving ones to streams of poses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mambats.formats.error import DataError
from mambats.formats.messages.fields import Columns, Fields, Kind, Parts, Topic, copied, header
from mambats.formats.messages.layout import Table
from mambats.formats.messages.motion import pose_paths, pose_stream
from mambats.formats.repair import Array, settle_quaternions
from mambats.series import Rigid

VALUES = pose_paths("", "translation", "rotation")


def transforms() -> Kind:
    """Several transforms a message, each with a header of its own."""

    def pick(table: Table) -> list[Columns]:
        picks: list[Columns] = []
        while f"transforms.{len(picks)}.header.stamp.sec" in (table.dtype.names or ()):
            path = f"transforms.{len(picks)}."
            names = {name: f"{path}transform.{name}" for name in VALUES}
            child = {"child": f"{path}child_frame_id"}
            picks.append({**header(table, f"{path}header"), **copied(table, {**names, **child})})
        return picks

    return Kind(pick, lambda fields, topic: _static(fields, topic) if topic.fixed else _moving(fields, topic))


def _static(fields: Fields, topic: Topic) -> Parts:
    found, repairs = dict[str, Rigid](), list[str]()
    values = fields.stack(*VALUES)
    values[:, 3:], lines = settle_quaternions(values[:, 3:], topic.place, topic.policy)
    parents, children = _words(fields["header.frame_id"]), _words(fields["child"])
    for row, (parent, child) in enumerate(zip(parents, children, strict=True)):
        a, b, c, x, y, z, w = (float(v) for v in values[row])
        try:
            edge = Rigid(parent, child, (a, b, c), (x, y, z, w))
        except ValueError as error:
            raise DataError(f"{topic.place.at(int(fields.numbers[row]))}: {error}") from error
        if child in found and found[child] != edge:
            repairs.append(f"{topic.place.name}: {parent} -> {child} is given anew, the last one is kept")
        found[child] = edge
    return Parts(edges=list(found.values()), repairs=[*lines, *dict.fromkeys(repairs)])


def _moving(fields: Fields, topic: Topic) -> Parts:
    made = Parts()
    parents, children = fields["header.frame_id"], fields["child"]
    pairs = [(parent, child, rows) for child, rows in _groups(children) for parent, rows in _parted(parents, rows)]
    several = [child for _, child, _ in pairs]
    for parent, child, rows in pairs:
        # A frame with two parents in turn is two streams, each named after both.
        name = f"{topic.stream}/{child}" if several.count(child) == 1 else f"{topic.stream}/{parent}/{child}"
        own = replace(topic, name=f"{topic.name} ({parent} -> {child})")
        part, repairs = fields.take(rows).settled(own)
        made.streams[name], lines = pose_stream(part, own, _values(part))
        made.repairs += [*repairs, *lines]
    return made


def _values(fields: Fields) -> Array:
    return fields.stack(*VALUES)


def _groups(column: npt.NDArray[np.generic]) -> list[tuple[str, npt.NDArray[np.int64]]]:
    words, first, codes = np.unique(column, return_index=True, return_inverse=True)
    names = _words(words)
    return [(names[k], np.flatnonzero(codes == k)) for k in np.argsort(first)]


def _parted(column: npt.NDArray[np.generic], rows: npt.NDArray[np.int64]) -> list[tuple[str, npt.NDArray[np.int64]]]:
    return [(word, rows[inside]) for word, inside in _groups(column[rows])]


def _words(column: npt.NDArray[np.generic]) -> list[str]:
    return [bytes(word).decode("utf-8", "replace").lstrip("/") for word in column]


#: Types of this file by name.
KINDS: dict[str, Callable[[], Kind]] = {
    "tf2_msgs/msg/TFMessage": transforms,
    "tf/msg/tfMessage": transforms,
}
