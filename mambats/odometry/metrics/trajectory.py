"""A run of poses, and an estimate brought to the moments of the truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import roma
import torch
from torch import Tensor

from mambats.preprocess.imu.so3 import conjugate, exponential, product

# Text files round quaternions to five digits or so; what is further from length 1 is no rotation.
_UNIT = 1e-3
_SECOND = 1_000_000_000


@dataclass(frozen=True)
class Trajectory:
    """Poses of a body in one fixed frame, in order of time; kept in float64 whatever is given.

    Args:
        stamps: Strictly rising, shape (T,) int64 nanoseconds, T >= 1.
        position: Metres, shape (T, 3).
        rotation: Unit quaternions x y z w that turn body vectors into the frame, shape (T, 4), or None where only
            positions are known; normalised here.

    Raises:
        ValueError: If shapes disagree, there is no pose, stamps do not rise, a number is not finite, or a quaternion
            is not of length 1; the message names the row.
    """

    stamps: Tensor
    position: Tensor
    rotation: Tensor | None = None

    def __post_init__(self) -> None:
        """Check every value and widen to float64."""
        _check_stamps(self.stamps)
        _check_rows("position", self.position, (len(self.stamps), 3))
        object.__setattr__(self, "position", self.position.double())
        if self.rotation is None:
            return
        _check_rows("rotation", self.rotation, (len(self.stamps), 4))
        exact = self.rotation.double()
        norm = torch.linalg.vector_norm(exact, dim=-1, keepdim=True)
        if bool((wrong := (norm[:, 0] - 1).abs() > _UNIT).any()):
            row = int(wrong.nonzero()[0])
            raise ValueError(
                f"rotation row {row} has length {float(norm[row]):.4g}: needed unit quaternions x y z w; normalise "
                "them, or leave rotation out."
            )
        object.__setattr__(self, "rotation", exact / norm)

    def __len__(self) -> int:
        """Return the number of poses."""
        return len(self.stamps)

    @property
    def distance(self) -> Tensor:
        """Metres travelled up to each pose along straight lines between poses, shape (T,); 0 at the first."""
        steps = torch.linalg.vector_norm(self.position.diff(dim=0), dim=-1)
        return torch.cat([steps.new_zeros(1), steps.cumsum(0)])

    @property
    def turned(self) -> Tensor:
        """The rotations (T, 4).

        Raises:
            ValueError: If only positions are known.
        """
        if self.rotation is None:
            raise ValueError("the trajectory has positions only: give rotation (T, 4), or ask for what needs none.")
        return self.rotation

    def at(self, stamps: Tensor) -> Trajectory:
        """Return the poses at other moments: positions straight between neighbours, rotations by slerp.

        Args:
            stamps: Within the first and last stamp, strictly rising, shape (n,) int64 nanoseconds.

        Raises:
            ValueError: If a moment lies outside: nothing is extrapolated.

        Source: Shoemake, Animating Rotation with Quaternion Curves, 1985 (slerp).
        """
        _check_stamps(stamps)
        if int(stamps[0]) < int(self.stamps[0]) or int(stamps[-1]) > int(self.stamps[-1]):
            raise ValueError(
                f"moments {int(stamps[0])} to {int(stamps[-1])} ns reach beyond the poses, {int(self.stamps[0])} to "
                f"{int(self.stamps[-1])} ns: cut them first, nothing is extrapolated."
            )
        right = torch.searchsorted(self.stamps, stamps).clamp(min=min(1, len(self) - 1))
        left = (right - 1).clamp(min=0)
        width = (self.stamps[right] - self.stamps[left]).clamp(min=1).double()
        share = ((stamps - self.stamps[left]).double() / width)[:, None]
        position = torch.lerp(self.position[left], self.position[right], share)
        if self.rotation is None:
            return Trajectory(stamps, position)
        start = self.rotation[left]
        turn = roma.unitquat_to_rotvec(product(conjugate(start), self.rotation[right]))
        return Trajectory(stamps, position, product(start, exponential(share * turn)))

    def rows(self, keep: Tensor) -> Trajectory:
        """Return some of the poses, by row numbers in order or by flags (T,)."""
        rotation = None if self.rotation is None else self.rotation[keep]
        return replace(self, stamps=self.stamps[keep], position=self.position[keep], rotation=rotation)


def associate(estimate: Trajectory, truth: Trajectory, max_gap: float | None = None) -> tuple[Trajectory, Trajectory]:
    """Bring an estimate to the moments of the truth: both come back with the same stamps.

    Moments of the truth before the first or after the last estimate are left out, and those between two estimates
    too far apart: an interpolation over an outage would hide it.

    Args:
        estimate: Estimated poses.
        truth: True poses.
        max_gap: Seconds between the estimates on both sides of a moment, at most; None takes any. A moment at which
            there is an estimate is always kept.

    Returns:
        Estimate and truth at the kept moments of the truth.

    Raises:
        ValueError: If no moment is left; says which times the two cover.
    """
    inside = (truth.stamps >= estimate.stamps[0]) & (truth.stamps <= estimate.stamps[-1])
    if max_gap is not None:
        right = torch.searchsorted(estimate.stamps, truth.stamps).clamp(max=len(estimate) - 1)
        width = estimate.stamps[right] - estimate.stamps[(right - 1).clamp(min=0)]
        inside &= (width <= round(max_gap * _SECOND)) | (estimate.stamps[right] == truth.stamps)
    if not bool(inside.any()):
        ends = [f"{int(t.stamps[0])} to {int(t.stamps[-1])} ns" for t in (estimate, truth)]
        raise ValueError(
            f"the estimate covers {ends[0]}, the truth {ends[1]}: no moment of the truth lies between two estimates"
            + ("" if max_gap is None else f" at most {max_gap:g} s apart")
            + ". Check clocks and units (int64 nanoseconds), or allow a larger max_gap."
        )
    kept = truth.rows(inside)
    return estimate.at(kept.stamps), kept


def _check_stamps(stamps: Tensor) -> None:
    if stamps.ndim != 1 or stamps.dtype != torch.int64 or not len(stamps):
        raise ValueError(
            f"stamps have shape {tuple(stamps.shape)} and dtype {stamps.dtype}: needed (T,) int64 nanoseconds, T >= 1."
        )
    if bool((fallen := stamps.diff() <= 0).any()):
        row = int(fallen.nonzero()[0]) + 1
        raise ValueError(
            f"stamps do not rise at row {row} ({int(stamps[row - 1])} then {int(stamps[row])} ns): sort the poses by "
            "time and drop repeated ones."
        )


def _check_rows(name: str, value: Tensor, needed: tuple[int, int]) -> None:
    if tuple(value.shape) != needed:
        raise ValueError(f"{name} has shape {tuple(value.shape)}, needed {needed}: one row a stamp.")
    if not bool((fine := value.isfinite().all(-1)).all()):
        row = int((~fine).nonzero()[0])
        raise ValueError(f"{name} row {row} is {value[row].tolist()}: leave out poses that are not known.")
