"""The public Kalman functions: checks and choice of who computes."""

from __future__ import annotations

from torch import Tensor

from mambats_kernels.kalman import reference
from mambats_kernels.kalman.arguments import check_predict, check_update
from mambats_kernels.kalman.cuda import launch
from mambats_kernels.kalman.native import native_predict, native_update, takes
from mambats_kernels.kalman.reference import Update


def kalman_predict(x: Tensor, P: Tensor, F: Tensor, Q: Tensor, *, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Move the means and covariances of B states of n numbers: F x and F P F' + Q.

    Args:
        x: Means, shape (B, n), float32 or float64.
        P: Covariances, shape (B, n, n), symmetric positive definite.
        F: Transition, shape (n, n) or (B, n, n).
        Q: Covariance of what is added, symmetric positive semi-definite, shape (n, n) or (B, n, n).
        mask: Rows that move, shape (B,) bool; the others keep their state to the bit. None: all.

    Returns:
        Means (B, n) and covariances (B, n, n), new tensors. Where rounding would leave a covariance singular, its
        diagonal is raised by as little as helps.

    Raises:
        ValueError: If a shape, dtype or device does not fit.

    Example:
        eye = torch.eye(2)
        x, P = kalman_predict(torch.zeros(5, 2), eye.expand(5, 2, 2), eye, 0.1 * eye)
    """
    check_predict(x, P, F, Q, mask)
    if takes(x, (P, F, Q), (x.shape[1],)):
        return native_predict(x, P, F, Q, mask)
    if launch.takes(x, (P, F, Q), (x.shape[1],)):
        return launch.cuda_predict(x, P, F, Q, mask)
    return reference.kalman_predict(x, P, F, Q, mask=mask)


def kalman_update(
    x: Tensor,
    P: Tensor,
    z: Tensor,
    H: Tensor,
    R: Tensor,
    *,
    mask: Tensor | None = None,
    gate: Tensor | None = None,
) -> Update:
    """Take measurements z = H x + noise of covariance R, in Joseph's form.

    A number of z that is not finite (NaN) counts as not measured; the others of its row still are.

    Args:
        x: Means, shape (B, n), float32 or float64.
        P: Covariances, shape (B, n, n), symmetric positive definite.
        z: Measured, shape (B, m).
        H: What is measured of a state, shape (m, n) or (B, m, n).
        R: Covariance of the measurement's error, symmetric positive definite, shape (m, m) or (B, m, m).
        mask: Rows that measured, shape (B,) bool; the others keep their state to the bit. None: all.
        gate: The largest normalised innovation squared that is let in, by how many numbers were measured, shape
            (m + 1,); rows above keep their state to the bit. None lets all in.

    Returns:
        States and innovations, `Update`.

    Raises:
        ValueError: If a shape, dtype or device does not fit.

    Source: Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001, section 5.2.

    Example:
        eye = torch.eye(2)
        made = kalman_update(torch.zeros(5, 2), eye.expand(5, 2, 2), torch.randn(5, 2), eye, eye)
    """
    check_update(x, P, z, H, R, mask, gate)
    if takes(x, (P, z, H, R), (x.shape[1], z.shape[1])):
        return native_update(x, P, z, (None, None, H, R), mask, gate)
    if launch.takes(x, (P, z, H, R), (x.shape[1], z.shape[1])):
        return launch.cuda_update(x, P, z, (None, None, H, R), mask, gate)
    return reference.kalman_update(x, P, z, H, R, mask=mask, gate=gate)


def kalman_step(
    x: Tensor,
    P: Tensor,
    z: Tensor,
    F: Tensor,
    Q: Tensor,
    H: Tensor,
    R: Tensor,
    *,
    mask: Tensor | None = None,
    gate: Tensor | None = None,
) -> Update:
    """Predict every row, then take the measurements: `kalman_predict` and `kalman_update` as one call.

    Args:
        x: Means, shape (B, n), float32 or float64.
        P: Covariances, shape (B, n, n), symmetric positive definite.
        z: Measured after the move, shape (B, m); NaN where not.
        F: Transition, shape (n, n) or (B, n, n).
        Q: Covariance of what the move adds, shape (n, n) or (B, n, n).
        H: What is measured of a state, shape (m, n) or (B, m, n).
        R: Covariance of the measurement's error, shape (m, m) or (B, m, m).
        mask: Rows that measured, shape (B,) bool; the others are predicted only. None: all.
        gate: As in `kalman_update`.

    Returns:
        States after both and innovations, `Update`.

    Raises:
        ValueError: If a shape, dtype or device does not fit.

    Example:
        eye = torch.eye(2)
        made = kalman_step(torch.zeros(5, 2), eye.expand(5, 2, 2), torch.randn(5, 2), eye, 0.1 * eye, eye, eye)
    """
    check_predict(x, P, F, Q, None)
    check_update(x, P, z, H, R, mask, gate)
    if takes(x, (P, z, F, Q, H, R), (x.shape[1], z.shape[1])):
        return native_update(x, P, z, (F, Q, H, R), mask, gate)
    if launch.takes(x, (P, z, F, Q, H, R), (x.shape[1], z.shape[1])):
        return launch.cuda_update(x, P, z, (F, Q, H, R), mask, gate)
    return reference.kalman_step(x, P, z, F, Q, H, R, mask=mask, gate=gate)
