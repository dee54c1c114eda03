"""What is wrong with one inertial sensor itself - bias, scale, axes not at right angles - put right and back."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mambats.series import Stream

Values = npt.NDArray[np.float64]
CHANNELS = ("wx", "wy", "wz", "ax", "ay", "az")


def _eye() -> Values:
    return np.eye(3)


@dataclass(frozen=True)
class ImuIntrinsics:
    """True = matrix (raw - bias), for the gyroscope and for the accelerometer.

    A matrix holds scales on its diagonal and misalignment beside it. Every row is put right by itself, so a stream is
    corrected sample by sample with the same numbers.

    Args:
        gyro_matrix: Shape (3, 3).
        gyro_bias: Shape (3,), rad/s.
        accelerometer_matrix: Shape (3, 3).
        accelerometer_bias: Shape (3,), m/s^2.

    Raises:
        ValueError: If a shape is another, or a matrix cannot be inverted.
    """

    gyro_matrix: Values
    gyro_bias: Values
    accelerometer_matrix: Values
    accelerometer_bias: Values

    def __post_init__(self) -> None:
        """Check shapes and that raw values can be had back."""
        for name in ("gyro", "accelerometer"):
            matrix, bias = getattr(self, f"{name}_matrix"), getattr(self, f"{name}_bias")
            if np.shape(matrix) != (3, 3) or np.shape(bias) != (3,):
                raise ValueError(f"{name}: matrix {np.shape(matrix)}, bias {np.shape(bias)}: need (3, 3) and (3,).")
            if not np.isfinite(matrix).all() or not np.linalg.cond(matrix) < 1e6:
                raise ValueError(f"{name}: matrix {np.asarray(matrix).tolist()} cannot be inverted.")

    @classmethod
    def none(cls) -> ImuIntrinsics:
        """Make what changes nothing."""
        return cls(_eye(), np.zeros(3), _eye(), np.zeros(3))

    def __call__(self, values: npt.ArrayLike) -> Values:
        """Put raw rows (..., 6) right: gyroscope [rad/s] and accelerometer [m/s^2]."""
        rows = _six(values)
        turned = (rows[..., :3] - self.gyro_bias) @ np.asarray(self.gyro_matrix).T
        pushed = (rows[..., 3:] - self.accelerometer_bias) @ np.asarray(self.accelerometer_matrix).T
        return np.concatenate([turned, pushed], -1)

    def inverse(self, values: npt.ArrayLike) -> Values:
        """Return the raw rows (..., 6) of true ones."""
        rows = _six(values)
        turned = rows[..., :3] @ np.linalg.inv(self.gyro_matrix).T + self.gyro_bias
        pushed = rows[..., 3:] @ np.linalg.inv(self.accelerometer_matrix).T + self.accelerometer_bias
        return np.concatenate([turned, pushed], -1)

    def correct_stream(self, stream: Stream) -> Stream:
        """Put the columns wx wy wz ax ay az of a stream right; others stay.

        Raises:
            ValueError: If one of the six is missing.
        """
        values = stream.values.copy()
        columns = imu_columns(stream)
        values[:, columns] = self(values[:, columns])
        return replace(stream, values=values)


def imu_columns(stream: Stream) -> list[int]:
    """Return where wx wy wz ax ay az stand.

    Raises:
        ValueError: If one is missing; names it.
    """
    missing = [name for name in CHANNELS if name not in stream.channels]
    if missing:
        raise ValueError(f"channels are {stream.channels}: {' '.join(missing)} missing of {' '.join(CHANNELS)}.")
    return [stream.channels.index(name) for name in CHANNELS]


def _six(values: npt.ArrayLike) -> Values:
    """Refuse rows that are not of six columns."""
    rows = np.asarray(values, dtype=np.float64)
    if rows.shape[-1:] != (6,):
        raise ValueError(f"values have shape {rows.shape}, needed (..., 6): gyroscope and accelerometer.")
    return rows
