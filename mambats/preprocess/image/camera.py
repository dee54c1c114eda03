"""What a step on pictures does to the camera, and steps in a row on a stream of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol, cast, overload

import numpy as np
import numpy.typing as npt

from mambats.series import ImageStream

Matrix = npt.NDArray[np.float64]


class Camera(NamedTuple):
    """A pinhole camera: matrix in pixels (3, 3) or None, plumb-bob coefficients, and the picture's (height, width).

    The centre of the upper left pixel is (0, 0), as OpenCV has it.
    """

    intrinsics: Matrix | None
    distortion: tuple[float, ...]
    size: tuple[int, int]


class Step(Protocol):
    """One step: pictures uint8 or float (..., H, W, C) to the like, and the camera that would have taken them."""

    def __call__(self, images: Any) -> Any:
        """Return pictures of the same kind, array or tensor."""
        ...

    def camera(self, camera: Camera) -> Camera:
        """Return the camera after the step."""
        ...


class ImageSteps:
    """Steps in a row on a stream of pictures; each picture is decoded and worked on when it is asked for.

    Args:
        steps: `Resize`, `CropPad`, `Undistort`, in order.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = tuple(steps)

    def __call__(self, stream: ImageStream) -> ImageStream:
        """Return the stream of worked-on pictures, with intrinsics and distortion after the steps.

        The first picture is decoded to learn the size, which all share.
        """
        if not len(stream):
            return stream
        height, width = stream.image(0).shape[:2]
        camera = Camera(stream.intrinsics, stream.distortion, (height, width))
        for step in self.steps:
            camera = step.camera(camera)
        pictures = cast(Any, _Worked(stream, self.steps))
        return replace(stream, pictures=pictures, intrinsics=camera.intrinsics, distortion=camera.distortion)


class _Worked(Sequence[npt.NDArray[np.uint8]]):
    """Pictures that are made when they are asked for."""

    def __init__(self, stream: ImageStream, steps: tuple[Step, ...], rows: range | None = None) -> None:
        self._stream, self._steps = stream, steps
        self._rows = range(len(stream)) if rows is None else rows

    @overload
    def __getitem__(self, row: int) -> npt.NDArray[np.uint8]: ...

    @overload
    def __getitem__(self, row: slice) -> _Worked: ...

    def __getitem__(self, row: int | slice) -> npt.NDArray[np.uint8] | _Worked:
        """Return one picture, or the pictures of a slice, still to be made."""
        if isinstance(row, slice):
            return _Worked(self._stream, self._steps, self._rows[row])
        image = self._stream.image(self._rows[row])
        made = image[..., None] if image.ndim == 2 else image
        for step in self._steps:
            made = step(made)
        return made[..., 0] if image.ndim == 2 else made

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self._rows)
