"""sensor_msgs/Image, CompressedImage and CameraInfo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.formats.messages.fields import Camera, Columns, Fields, Kind, Parts, Topic, copied, header, text
from mambats.formats.messages.layout import MessageError, Table
from mambats.series import ImageStream

#: Encodings of 8 bits: bytes a pixel, and which of them are red, green, blue (or grey).
ENCODINGS = {
    "rgb8": (3, [0, 1, 2]),
    "bgr8": (3, [2, 1, 0]),
    "rgba8": (4, [0, 1, 2]),
    "bgra8": (4, [2, 1, 0]),
    "8UC3": (3, [2, 1, 0]),
    "mono8": (1, [0]),
    "8UC1": (1, [0]),
}
#: How pictures that Pillow decodes begin: JPEG, PNG, TIFF, BMP, WebP.
ENCODED = (b"\xff\xd8", b"\x89PNG", b"II*\x00", b"MM\x00*", b"BM", b"RIFF")


def image() -> Kind:
    """sensor_msgs/Image of 8 bits, RGB or grey; other encodings are left out and counted."""
    return Kind(_pick_raw, _build)


def compressed() -> Kind:
    """sensor_msgs/CompressedImage: JPEG, PNG and the like stay encoded; others are left out and counted."""
    return Kind(_pick_encoded, _build)


def info() -> Kind:
    """sensor_msgs/CameraInfo: the first one counts, a change is reported."""

    def pick(table: Table) -> list[Columns]:
        small = {name.lower(): name for name in (table.dtype.names or ()) if len(name) == 1}
        held = _objects([np.array(row, np.float64) for row in table[small["d"]]] if "d" in small else [])
        model = {"model": text(table, "distortion_model")}
        numbers = copied(table, {"k": small["k"], "p": small["p"]})
        return [{**header(table), **model, **numbers, "d": held}]

    def build(fields: Fields, topic: Topic) -> Parts:
        matrix = fields["k"].astype(np.float64).reshape(-1, 3, 3)
        rectified = fields["p"].astype(np.float64).reshape(-1, 3, 4)[0, :, :3]
        model = fields.words("model")[0]
        repairs: list[str] = []
        if (matrix != matrix[0]).any():
            repairs.append(f"{topic.place.name}: the camera matrix changes, the first one is kept")
        known = model in ("plumb_bob", "rational_polynomial", "")
        if not known:
            repairs.append(f"{topic.place.name}: distortion model {model!r} is not plumb_bob and is left out")
        if not matrix[0].any():
            return Parts(repairs=[*repairs, f"{topic.place.name}: the camera is not calibrated (K is 0)"])
        distortion = tuple(float(v) for v in fields["d"].tolist()[0]) if known else ()
        camera = Camera(matrix[0].copy(), rectified.copy(), distortion if any(distortion) else ())
        return Parts(cameras={topic.name: camera}, repairs=repairs)

    return Kind(pick, build)


def _pick_raw(table: Table) -> list[Columns]:
    words = text(table, "encoding")
    pictures = [_raw(table[row], bytes(words[row]).decode("utf-8", "replace")) for row in range(len(table))]
    return [{**header(table), "encoding": words, "picture": _objects(pictures)}]


def _pick_encoded(table: Table) -> list[Columns]:
    pictures = [row.tobytes() for row in table["data"]] if "data" in (table.dtype.names or ()) else []
    kept = [picture if picture.startswith(ENCODED) else None for picture in pictures]
    return [{**header(table), "encoding": text(table, "format"), "picture": _objects(kept)}]


def _raw(message: Any, encoding: str) -> npt.NDArray[np.uint8] | None:
    if encoding not in ENCODINGS:
        return None
    size, order = ENCODINGS[encoding]
    height, width, step = (int(message[name]) for name in ("height", "width", "step"))
    data = message["data"]
    if step < width * size or height * step > data.size:
        raise MessageError(f"a picture of {width} x {height} with {step} bytes a row has {data.size} bytes")
    rows = data[: height * step].reshape(height, step)[:, : width * size].reshape(height, width, size)
    return np.ascontiguousarray(rows[:, :, order[0]] if len(order) == 1 else rows[:, :, order])


def _build(fields: Fields, topic: Topic) -> Parts:
    there = np.array([picture is not None for picture in fields["picture"]])
    repairs: list[str] = []
    if not there.all():
        words = ", ".join(map(repr, fields.take(~there).words("encoding")))
        repairs.append(f"{topic.place.name}: {int((~there).sum())} pictures of encoding {words}, which is not read")
    fields = fields.take(there)
    if not len(fields):
        return Parts(repairs=repairs)
    fields, more = fields.settled(topic)
    frame, lines = fields.frame(topic)
    made = ImageStream(fields.stamps, fields["picture"].tolist(), frame)
    return Parts(images={topic.stream: made}, repairs=[*repairs, *more, *lines])


def _objects(items: list[Any]) -> npt.NDArray[Any]:
    made = np.empty(len(items), object)
    for row, item in enumerate(items):
        made[row] = item
    return made


#: Types of this file by name.
KINDS: dict[str, Callable[[], Kind]] = {
    "sensor_msgs/msg/Image": image,
    "sensor_msgs/msg/CompressedImage": compressed,
    "sensor_msgs/msg/CameraInfo": info,
}
