"""What is read of the messages of one topic: fields as arrays in the order of the log, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mambats.formats.messages.layout import Layouts, MessageError, Table
from mambats.formats.repair import Array, Place, Policy, mark_missing, settle_clock
from mambats.series import ImageStream, RaggedStream, Rigid, Stamps, Stream

#: Fields of some messages by name, each of shape (n, ...); variable ones (points, pictures) are objects.
Columns = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True)
class Camera:
    """What a camera_info topic says: matrices in pixels, and plumb-bob coefficients.

    Args:
        matrix: K of the raw picture, shape (3, 3).
        rectified: Left part of P, of the rectified picture, shape (3, 3).
        distortion: k1 k2 p1 p2 [k3 ...].
    """

    matrix: Array
    rectified: Array
    distortion: tuple[float, ...] = ()


@dataclass
class Parts:
    """What the messages of one topic, or of all, become in a recording."""

    streams: dict[str, Stream] = field(default_factory=dict[str, Stream])
    ragged: dict[str, RaggedStream] = field(default_factory=dict[str, RaggedStream])
    images: dict[str, ImageStream] = field(default_factory=dict[str, ImageStream])
    cameras: dict[str, Camera] = field(default_factory=dict[str, Camera])
    edges: list[Rigid] = field(default_factory=list[Rigid])
    repairs: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class Topic:
    """The topic that messages come from.

    Args:
        name: As recorded, `/imu/data`.
        stream: Name of the stream it becomes, `imu/data`.
        file: For messages to the user.
        policy: What to do with faults.
    """

    name: str
    stream: str
    file: str
    policy: Policy

    @property
    def place(self) -> Place:
        """Where its messages stand."""
        return Place(f"{self.file}, topic {self.name}", 0, "message")

    @property
    def fixed(self) -> bool:
        """Whether its transforms hold at all times."""
        return self.name.rstrip("/").endswith("tf_static")


class Fields:
    """Fields of all messages of a topic, in the order of the log.

    Args:
        columns: By name, each of shape (n, ...).
        stamps: Time of each in int64 nanoseconds, shape (n,): its header's, or the log's.
        numbers: Number of its message, shape (n,).
    """

    def __init__(self, columns: Columns, stamps: Stamps, numbers: npt.NDArray[np.int64]) -> None:
        self.columns = columns
        self.stamps = stamps
        self.numbers = numbers

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.stamps)

    def __getitem__(self, name: str) -> npt.NDArray[np.generic]:
        """Return a field, shape (n, ...)."""
        return self.columns[name]

    def stack(self, *names: str) -> Array:
        """Return fields side by side as float64, shape (n, C)."""
        return np.stack([self.columns[name].astype(np.float64) for name in names], axis=1)

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Fields:
        """Return some of the rows."""
        kept = {name: column[rows] for name, column in self.columns.items()}
        return Fields(kept, self.stamps[rows], self.numbers[rows])

    def settled(self, topic: Topic) -> tuple[Fields, list[str]]:
        """Keep the rows whose clock rises, or refuse those where it does not.

        Raises:
            DataError: If it does not and the policy refuses that.
        """
        place = Place(topic.place.name, self.numbers, "message")
        settled = settle_clock(self.stamps, place, topic.policy)
        return (self.take(settled.rows) if settled.repairs else self), list(settled.repairs)

    def words(self, name: str) -> list[str]:
        """Return the different values of a text field, in order of appearance."""
        column = self.columns[name]
        if column.dtype.kind != "S":
            return [""] if len(column) else []
        # One comparison for the usual case that it never changes; sorting 10^6 strings takes a second.
        if len(column) and bool((column == column[0]).all()):
            return [_text(column[0])]
        _, first = np.unique(column, return_index=True)
        return [_text(column[row]) for row in np.sort(first)]

    def frame(self, topic: Topic, name: str = "header.frame_id") -> tuple[str, list[str]]:
        """Return the one frame id, or none where it changes, which is reported."""
        if name not in self.columns:
            return "", []
        found = list(dict.fromkeys(word.lstrip("/") for word in self.words(name)))
        if len(found) > 1:
            return "", [f"{topic.place.name}: {name} changes ({', '.join(map(repr, found[:5]))}), so none is kept"]
        return (found or [""])[0], []


Pick = Callable[[Table], Sequence[Columns]]
Build = Callable[[Fields, Topic], Parts]


@dataclass(frozen=True)
class Kind:
    """How messages of one type are read.

    Args:
        pick: Takes what is needed of messages of one layout; several rows a message are several picks.
        build: Makes streams of all rows.
        text: What it becomes, for lists.
    """

    pick: Pick
    build: Build
    text: str = ""


class Collector:
    """Reads the messages of a topic as they come, and builds its streams at last.

    Args:
        layouts: Of the topic's type.
        kind: How the type is read.
        topic: Where the messages come from.
    """

    def __init__(self, layouts: Layouts, kind: Kind, topic: Topic) -> None:
        self.layouts = layouts
        self.kind = kind
        self.topic = topic
        self.count = 0
        self._picks: list[tuple[Stamps, npt.NDArray[np.int64], int, Columns]] = []

    def add(self, messages: Sequence[bytes], logs: Stamps) -> None:
        """Read some messages with their log times.

        Raises:
            MessageError: If one is not of the type.
        """
        picks: list[tuple[Stamps, npt.NDArray[np.int64], int, Columns]] = []
        for rows, table in self.layouts.tables(messages):
            for part, columns in enumerate(self._pick(table)):
                picks.append((logs[rows], rows + self.count, part, columns))
        self._picks += picks
        self.count += len(messages)

    def _pick(self, table: Table) -> Sequence[Columns]:
        try:
            return self.kind.pick(table)
        except MessageError:
            raise
        except (KeyError, ValueError, IndexError) as error:
            # numpy's words for a field that the type has elsewhere, but not in this file.
            raise MessageError(f"the file defines {self.layouts.name} in its own way ({error})") from error

    def build(self) -> Parts:
        """Make the streams of all messages that came.

        Raises:
            DataError: If a fault is one that the policy refuses.
        """
        if not self._picks:
            return Parts()
        logs = np.concatenate([logs for logs, _, _, _ in self._picks])
        numbers = np.concatenate([rows for _, rows, _, _ in self._picks])
        parts = np.concatenate([np.full(len(rows), part) for _, rows, part, _ in self._picks])
        # The log's order is the file's unless a writer's threads mixed it: then log times say it.
        order = np.lexsort((parts, numbers, logs))
        names = self._picks[0][3]
        columns: Columns = {name: np.concatenate([pick[3][name] for pick in self._picks])[order] for name in names}
        self._picks.clear()
        stamps, repairs = _stamps(columns, logs[order], self.topic)
        made = self.kind.build(Fields(columns, stamps, numbers[order]), self.topic)
        made.repairs[:0] = repairs
        return made


def make_stream(
    fields: Fields, topic: Topic, values: Array, channels: Sequence[str], unit: Sequence[str]
) -> tuple[Stream, list[str]]:
    """Make a stream of settled rows and say what was found: what is not finite is marked unobserved."""
    observed, lines = mark_missing(values, Place(topic.place.name, fields.numbers, "message"))
    frame, more = fields.frame(topic)
    return Stream(fields.stamps, values, tuple(channels), observed, tuple(unit), frame), [*lines, *more]


def noise(covariance: Array) -> Array | None:
    """Return covariances of shape (n, C, C) as one where all are the same, or None where they say "not known"."""
    if not len(covariance) or not covariance.any() or bool((covariance[:, 0, 0] < 0).all()):
        return None
    same = bool((covariance == covariance[0]).all())
    return np.array(covariance[0]) if same else covariance


def copied(table: Table, names: Mapping[str, str] | Sequence[str]) -> Columns:
    """Copy fields of a table, in the machine's byte order; a mapping renames them."""
    pairs = names.items() if isinstance(names, Mapping) else ((name, name) for name in names)
    return {to: text(table, name) if table.dtype[name].kind in "SV" else _native(table[name]) for to, name in pairs}


def header(table: Table, path: str = "header") -> Columns:
    """Copy stamp and frame id of a header."""
    names = ("stamp.sec", "stamp.nanosec", "frame_id")
    return copied(table, {f"header.{name}": f"{path}.{name}" for name in names})


def text(table: Table, name: str) -> npt.NDArray[np.generic]:
    """Return a text field as bytes, shape (n,)."""
    column = table[name]
    return np.zeros(len(table), "S1") if column.dtype.kind == "V" else np.array(column)


def _native(column: Table) -> Table:
    return column.astype(column.dtype.newbyteorder("="))


def _text(word: object) -> str:
    return bytes(word).decode("utf-8", "replace") if isinstance(word, bytes) else str(word)


def _stamps(columns: Columns, logs: Stamps, topic: Topic) -> tuple[Stamps, list[str]]:
    if "header.stamp.sec" not in columns:
        return logs, [f"{topic.place.name}: {len(logs)} messages without a header, stamped by the log's time"]
    seconds, rest = columns["header.stamp.sec"], columns["header.stamp.nanosec"]
    stamps = seconds.astype(np.int64) * 10**9 + rest.astype(np.int64)
    if not stamps.any():
        return logs, [] if topic.fixed else [
            f"{topic.place.name}: {len(logs)} messages whose header has stamp 0, stamped by the log's time"
        ]
    return stamps, []
