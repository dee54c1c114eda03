"""sensor_msgs/JointState: one stream for each set of joints that is published together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mambats.formats.messages.fields import Columns, Fields, Kind, Parts, Topic, header, make_stream, text
from mambats.formats.messages.layout import MessageError, Table

PARTS = ("position", "velocity", "effort")


def joints() -> Kind:
    """`shoulder_position`, `shoulder_velocity`, `shoulder_effort` of each joint [rad or m, rad/s or m/s, Nm or N].

    A joint may turn or slide, which the message does not say, so the stream has no unit.
    """
    return Kind(_pick, _build)


def _pick(table: Table) -> list[Columns]:
    names = [name for name in (table.dtype.names or ()) if name.startswith("name.")]
    words = [text(table, name) for name in names]
    keys, values = np.empty(len(table), object), np.empty(len(table), object)
    columns = [np.asarray(table[part], np.float64).reshape(len(table), -1) for part in PARTS]
    if wrong := [part for part, c in zip(PARTS, columns, strict=True) if c.shape[1] not in (0, len(names))]:
        raise MessageError(f"{' and '.join(wrong)} are not one a joint, there are {len(names)} joints")
    for row in range(len(table)):
        joint = [bytes(word[row]).decode("utf-8", "replace") for word in words]
        keys[row] = tuple(f"{name}_{p}" for p, c in zip(PARTS, columns, strict=True) if c.shape[1] for name in joint)
        values[row] = np.concatenate([column[row] for column in columns])
    return [{**header(table), "channels": keys, "values": values}]


def _build(fields: Fields, topic: Topic) -> Parts:
    made, keys = Parts(), fields["channels"].tolist()
    for number, channels in enumerate(dict.fromkeys(keys)):
        if not channels:
            made.repairs.append(f"{topic.place.name}: {keys.count(channels)} messages without a joint, left out")
            continue
        part, repairs = fields.take(np.array([key == channels for key in keys])).settled(topic)
        name = topic.stream if number == 0 else f"{topic.stream}/{number}"
        values = np.stack(part["values"].tolist())
        made.streams[name], lines = make_stream(part, topic, values, channels, [""] * len(channels))
        made.repairs += [*repairs, *lines]
    return made


#: Types of this file by name.
KINDS: dict[str, Callable[[], Kind]] = {"sensor_msgs/msg/JointState": joints}
