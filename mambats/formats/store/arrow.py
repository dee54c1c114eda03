"""Arrow IPC files as numpy memory maps: polars (or any Arrow library) writes and reads them, numpy opens them.

polars 2.1 copies what it reads (111 MB grew for a file of 112 MB), and a robot may have no polars. A file of one batch
without compression is plain arrays behind one another, so only their places are read here.

Source: Arrow columnar format 1.5, "IPC file format" and "Recursive flattening"; FlatBuffers internals.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.formats.error import DataError

Array = npt.NDArray[Any]
MAGIC = b"ARROW1"
CONTINUE = 0xFFFFFFFF
RECORD_BATCH = 3  # the union's number of a record batch in Message.fbs


def write_columns(path: Path, columns: Mapping[str, Array]) -> None:
    """Write arrays of equal length as one batch without compression; rows of more dimensions are laid flat.

    Raises:
        ModuleNotFoundError: If polars is not installed.
    """
    try:
        import polars as pl
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "saving needs polars, which is not installed (opening does not need it): pip install 'mambats[train]'"
        ) from error

    series = [_series(pl, name, column) for name, column in columns.items()]
    rows = max(len(series[0]), 1)
    pl.DataFrame(series).write_ipc(path, compression="uncompressed", record_batch_size=rows)


def map_columns(path: Path, shapes: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, Array]:
    """Open the columns of such a file as views of one memory map; nothing is copied.

    The map is copy-on-write: torch wants writable memory, the file stays as it is.

    Args:
        path: The file.
        shapes: dtype and shape of each column, in the order of the file.

    Raises:
        DataError: If the file is no Arrow file of one batch that holds these columns.
    """
    rows = next(iter(shapes.values()))[1][0]
    body = np.memmap(path, dtype=np.uint8, mode="c")
    try:
        start, found, buffers = _locate(body)
    except (struct.error, IndexError, ValueError) as error:
        raise DataError(f"{path}: is not a whole Arrow IPC file of one batch ({error}). Save it again.") from error
    if found != rows:
        raise DataError(f"{path}: holds {found} rows, recording.json says {rows}. Save the recording again.")
    views, at = dict[str, Array](), 0
    for name, (dtype, shape) in shapes.items():
        # A list column has one more validity buffer, of the lists, before those of the numbers.
        at += 2 if len(shape) > 1 else 1
        offset, length = buffers[at] if at < len(buffers) else (0, -1)
        at += 1
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if length < size or start + offset + size > len(body):
            raise DataError(f"{path}: column {name!r} is not {dtype} of shape {shape}. Save the recording again.")
        views[name] = body[start + offset : start + offset + size].view(np.ndarray).view(dtype).reshape(shape)
    return views


def forget(array: Array) -> None:
    """Let go of the memory that reading a mapped array took; what is read again comes from the file."""
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def _series(pl: Any, name: str, column: Array) -> Any:
    flat = pl.Series(name, np.ascontiguousarray(column).reshape(-1))
    return flat if column.ndim == 1 else flat.reshape((len(column), -1))


def _locate(file: Array) -> tuple[int, int, list[tuple[int, int]]]:
    """Return where the body of the one batch starts, its rows, and offset and length of its buffers."""
    if len(file) < 24 or file[:6].tobytes() != MAGIC or file[-6:].tobytes() != MAGIC:
        raise ValueError("the magic at its ends is missing")
    (length,) = struct.unpack("<i", file[-10:-6].tobytes())
    footer = _Table.root(file[len(file) - 10 - length : len(file) - 10].tobytes())
    blocks, count = footer.vector(3)
    if count != 1:
        raise ValueError(f"it has {count} batches")
    offset, head = struct.unpack_from("<qi", footer.data, blocks)
    mark, size = struct.unpack("<Ii", file[offset : offset + 8].tobytes())
    if mark != CONTINUE:
        raise ValueError("its batch does not begin where the footer says")
    message = _Table.root(file[offset + 8 : offset + 8 + size].tobytes())
    batch = message.table(2)
    if message.number(1, "<B") != RECORD_BATCH or batch.place(3):
        raise ValueError("its batch is compressed, or none")
    at, many = batch.vector(2)
    pairs = [struct.unpack_from("<qq", batch.data, at + 16 * k) for k in range(many)]
    return offset + head, batch.number(0, "<q"), pairs


class _Table:
    """One FlatBuffers table: its fields are found through the vtable, an absent one is at 0."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at
        self.vtable = at - struct.unpack_from("<i", data, at)[0]

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(data, struct.unpack_from("<I", data)[0])

    def place(self, field: int) -> int:
        size = struct.unpack_from("<H", self.data, self.vtable)[0]
        slot = 4 + 2 * field
        inside = struct.unpack_from("<H", self.data, self.vtable + slot)[0] if slot < size else 0
        return self.at + inside if inside else 0

    def number(self, field: int, code: str) -> int:
        at = self.place(field)
        return struct.unpack_from(code, self.data, at)[0] if at else 0

    def table(self, field: int) -> _Table:
        return _Table(self.data, self._follow(field))

    def vector(self, field: int) -> tuple[int, int]:
        """Return where the items begin, and how many there are."""
        at = self._follow(field)
        return at + 4, struct.unpack_from("<I", self.data, at)[0]

    def _follow(self, field: int) -> int:
        at = self.place(field)
        if not at:
            raise ValueError(f"field {field} is missing")
        return at + struct.unpack_from("<I", self.data, at)[0]
