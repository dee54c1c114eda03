"""Pictures of an image stream in one file, behind one another, sliced when one is asked for."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt

from mambats.series import ImageStream

Picture = Path | bytes | npt.NDArray[np.uint8]
#: How a picture that was an array begins: it is kept as a .npy file, all else as the encoded bytes it came in.
NUMPY = b"\x93NUMPY"


class Pictures(Sequence[Picture]):
    """Pictures in a mapped file: encoded bytes, or arrays where they were arrays.

    Args:
        data: The file, shape (bytes,) uint8.
        splits: Where each picture begins, and at last the end, shape (T + 1,) int64.
    """

    def __init__(self, data: npt.NDArray[np.uint8], splits: npt.NDArray[np.int64]) -> None:
        self.data = data
        self.splits = splits

    @overload
    def __getitem__(self, index: int) -> Picture: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Picture]: ...
    def __getitem__(self, index: int | slice) -> Picture | Sequence[Picture]:
        """Read one picture, or several."""
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        content = self.data[self.splits[row] : self.splits[row + 1]].tobytes()
        return np.load(io.BytesIO(content), allow_pickle=False) if content.startswith(NUMPY) else content

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.splits) - 1


def write_pictures(path: Path, stream: ImageStream) -> npt.NDArray[np.int64]:
    """Write all pictures behind one another; files are read, arrays become .npy files.

    Returns:
        Where each ends, shape (T,) int64.

    Raises:
        ValueError: If a file of a picture is not there; names it.
    """
    ends = np.empty(len(stream), np.int64)
    with path.open("wb") as file:
        for row, picture in enumerate(stream.pictures):
            file.write(_bytes(picture, row))
            ends[row] = file.tell()
    return ends


def _bytes(picture: Picture, row: int) -> bytes:
    if isinstance(picture, np.ndarray):
        made = io.BytesIO()
        np.save(made, picture, allow_pickle=False)
        return made.getvalue()
    if isinstance(picture, bytes):
        return picture
    try:
        return picture.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{picture}: picture {row} cannot be read ({error.strerror}). Give the whole folder."
        ) from error
