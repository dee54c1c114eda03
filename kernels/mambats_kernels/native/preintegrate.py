"""Preintegration of inertial samples by the native CPU library: numbers in, numbers out."""

import torch
from torch import Tensor

from mambats_kernels import backend, native
from mambats_kernels.eager import plain
from mambats_kernels.native.imu import Imu


def preintegrates(*tensors: Tensor) -> bool:
    """Say whether `preintegrate` takes these: on the CPU, float32 or float64 throughout, and no gradient is asked.

    It says no where there is no library, or where torch's operations were asked for by name.
    """
    dtype = tensors[0].dtype
    return (
        native.library is not None
        and next(filter(None, backend.forced()), "") not in ("torch", "reference")
        and dtype in (torch.float32, torch.float64)
        and all(v.dtype == dtype and v.device.type == "cpu" for v in tensors)
        and plain(tensors)
    )


def preintegrate(
    gyro: Tensor,
    accelerometer: Tensor,
    dt: Tensor,
    bias: Tensor,
    densities: tuple[float, float, float],
    *,
    errors: bool = True,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Sum inertial samples over intervals; shapes are the caller's to check.

    Args:
        gyro: Angular rate, shape (B, T, 3), rad/s.
        accelerometer: Specific force, shape (B, T, 3), m/s^2.
        dt: How long each sample holds, shape (B, T), seconds.
        bias: To take off every sample, shape (B, 6).
        densities: Of noise: angular rate, specific force, integration.
        errors: Whether to find Jacobian and covariance; else they are zero.

    Returns:
        Duration (B,), quaternion (B, 4) x y z w, velocity (B, 3), position (B, 3), Jacobian by the biases (B, 9, 6) and
        covariance (B, 9, 9), rows rotation, velocity, position.

    Raises:
        RuntimeError: If there is no library.

    Source: Forster et al., TRO 2017, eq. 35 and A.7-A.9.
    """
    kept = [v.detach().contiguous() for v in (gyro, accelerometer, dt, bias)]
    batch, length = dt.shape
    shapes = ((batch,), (batch, 4), (batch, 3), (batch, 3))
    motion = [gyro.new_empty(shape) for shape in shapes]
    make = gyro.new_empty if errors else gyro.new_zeros
    motion += [make(batch, 9, 6), make(batch, 9, 9)]
    squares = (density**2 for density in densities)
    wide = gyro.dtype == torch.float64
    addresses = (v.data_ptr() for v in (*kept, *motion))
    native.run("mambats_imu_forward", Imu(batch, length, torch.get_num_threads(), wide, errors, *squares, *addresses))
    duration, quaternion, velocity, position, jacobian, covariance = motion
    return duration, quaternion, velocity, position, jacobian, covariance
