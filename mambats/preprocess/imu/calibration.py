"""Calibrate an inertial sensor by hand: lay it down in many poses, turn it in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.preprocess.imu.intrinsics import ImuIntrinsics, imu_columns
from mambats.preprocess.imu.stillness import StillDetector
from mambats.series import Stream

Values = npt.NDArray[np.float64]
_POSES = 9  # unknowns of the accelerometer: three scales, three angles, three biases
_LOWER = np.tril_indices(3)


class NotEnoughMotionError(ValueError):
    """The record has too few poses, or too much alike, to tell what is wrong with the sensor."""


@dataclass(frozen=True)
class CalibrationFit:
    """What was found.

    Args:
        intrinsics: To put raw rows right with.
        deviations: Standard deviation of every number, by field of the intrinsics and in its shape.
        gravity_residual: Root mean square of |corrected force| - gravity over the poses, m/s^2.
        turn_residual: Root mean square of the angle between gravity turned by the gyroscope and as measured, rad.
        poses: Still intervals as rows of the stream.
    """

    intrinsics: ImuIntrinsics
    deviations: dict[str, Values]
    gravity_residual: float
    turn_residual: float
    poses: tuple[slice, ...]


class ImuCalibration:
    """Find bias, scale and misalignment of accelerometer and gyroscope from a record of poses and turns.

    At rest the corrected force must have the length of gravity in every pose: nine poses or more, spread over all
    directions, give nine numbers of the accelerometer (its x axis defines the sensor's, so its matrix is lower
    triangular). Rest gives the gyroscope's bias. From one pose to the next the integrated gyroscope must turn gravity
    as the corrected accelerometer saw it: this gives the nine numbers of its matrix.

    Args:
        gravity: Local gravity, m/s^2.
        detector: Finds still intervals.
        condition: Largest ratio of the best to the worst determined direction of the unknowns (each in its unit: 1 for
            matrices, m/s^2 for the bias over gravity).

    Source: Tedaldi, Pretto, Menegatti, ICRA 2014, eq. 6-10 and algorithm 1.
    """

    def __init__(self, gravity: float = 9.81, detector: StillDetector | None = None, condition: float = 300.0) -> None:
        if not gravity > 0:
            raise ValueError(f"gravity is {gravity}: need m/s^2 above 0.")
        self.gravity, self.detector, self.condition = gravity, detector or StillDetector(), condition

    def __call__(self, stream: Stream) -> CalibrationFit:
        """Calibrate from a stream with wx wy wz ax ay az on a nearly regular clock.

        Raises:
            NotEnoughMotionError: If there are fewer than nine poses, or poses or turns leave a number open.
            ValueError: If a channel is missing or a value is not finite; names the row.
        """
        values = np.asarray(stream.values[:, imu_columns(stream)], dtype=np.float64)
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            raise ValueError(f"row {bad[0][0]} is {values[bad[0][0]].tolist()}: need finite values; fill gaps first.")
        if len(stream) < 2:
            raise NotEnoughMotionError(f"{len(stream)} rows: need nine still poses with turns in between.")
        gaps = np.diff(stream.stamps) * 1e-9
        poses = self.detector(values, float(1 / np.median(gaps)))
        if len(poses) < _POSES:
            raise NotEnoughMotionError(
                f"{len(poses)} still poses of {self.detector.shortest} s were found, needed {_POSES}: lay the sensor "
                "down in more poses (20 to 40, in all directions), or raise the detector's `factor`."
            )
        force = np.stack([values[part, 3:].mean(0) for part in poses])
        counts = np.array([part.stop - part.start for part in poses], dtype=np.float64)
        bias = (np.stack([values[part, :3].mean(0) for part in poses]) * counts[:, None]).sum(0) / counts.sum()
        noise = np.stack([values[part, :3].std(0) for part in poses]).mean(0) / np.sqrt(counts.sum())
        straight, shift, matrix_error, shift_error, rest = self._accelerometer(force)
        up = (force - shift) @ straight.T
        turns = [slice(a.stop - 1, b.start + 1) for a, b in pairwise(poses)]
        matrix, error, missed = self._gyro(values[:, :3] - bias, gaps, turns, up)
        errors = (error, noise, matrix_error, shift_error)
        names = ("gyro_matrix", "gyro_bias", "accelerometer_matrix", "accelerometer_bias")
        intrinsics = ImuIntrinsics(matrix, bias, straight, shift)
        return CalibrationFit(intrinsics, dict(zip(names, errors, strict=True)), rest, missed, tuple(poses))

    def _accelerometer(self, force: Values) -> tuple[Values, Values, Values, Values, float]:
        """Return matrix, bias, their deviations, and the residual over poses (n, 3)."""

        def parts(unknown: Values) -> tuple[Values, Values]:
            matrix = np.zeros((3, 3))
            matrix[_LOWER] = unknown[:6]
            return matrix, unknown[6:] * self.gravity

        def residual(unknown: Values) -> Values:
            matrix, shift = parts(unknown)
            return np.sqrt(np.square((force - shift) @ matrix.T).sum(1)) / self.gravity - 1

        names = (*(f"matrix[{i}, {j}]" for i, j in zip(*_LOWER, strict=True)), "bias x", "bias y", "bias z")
        start = np.concatenate([np.eye(3)[_LOWER], np.zeros(3)])
        found, errors, left = self._solve(residual, start, [f"accelerometer {name}" for name in names], "poses")
        matrix_error, shift_error = parts(errors)
        return *parts(found), matrix_error, shift_error, left * self.gravity

    def _gyro(self, rates: Values, gaps: Values, turns: list[slice], up: Values) -> tuple[Values, Values, float]:
        """Return the matrix, its deviations and the residual angle; rates (T, 3) without bias, up (n, 3) of poses."""
        from mambats.preprocess.imu.turns import Turns

        stack = Turns.of(rates, gaps, turns)
        unit = up / np.sqrt(np.square(up).sum(1, keepdims=True))

        def residual(unknown: Values) -> Values:
            return (stack.carried(unknown.reshape(3, 3), unit[:-1]) - unit[1:]).ravel()

        names = [f"gyroscope matrix[{i}, {j}]" for i in range(3) for j in range(3)]
        found, errors, left = self._solve(residual, np.eye(3).ravel(), names, "turns between poses")
        return found.reshape(3, 3), errors.reshape(3, 3), left * 3**0.5

    def _solve(
        self, residual: Callable[[Values], Values], start: Values, names: list[str], what: str
    ) -> tuple[Values, Values, float]:
        """Return unknowns, their deviations and the residual's root mean square.

        Raises:
            NotEnoughMotionError: If a combination of unknowns is left open; names the one it is mostly made of.
        """
        from scipy.optimize import least_squares

        made: Any = least_squares(residual, start, method="trf", x_scale=1.0, loss="linear")
        slopes = np.asarray(made.jac, dtype=np.float64)
        _, sizes, directions = np.linalg.svd(slopes, full_matrices=False)
        if len(slopes) <= len(start) or sizes[0] > self.condition * sizes[-1]:
            worst = names[int(np.argmax(np.abs(directions[-1])))]
            raise NotEnoughMotionError(
                f"the {what} leave {worst} open (condition {sizes[0] / max(sizes[-1], 1e-300):.0f}, at most "
                f"{self.condition:.0f}): add {what} about other axes, also upside down."
            )
        square = float(np.square(made.fun).sum())
        covariance = np.linalg.inv(slopes.T @ slopes) * (square / (len(slopes) - len(start)))
        return np.asarray(made.x), np.sqrt(np.diag(covariance)), float(np.sqrt(square / len(slopes)))
