"""The bias of a gyroscope, learned while the sensor rests and while it moves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.estimators.low_pass import LowPass, LowPassState

_DEGREE = math.pi / 180


@dataclass(frozen=True)
class Rest:
    """When a sensor counts as resting: both signals stay near their low-passed selves for a while.

    Args:
        seconds: How long.
        tau: Time constant of the low-pass, seconds.
        gyro: Largest deviation of angular rate, rad/s.
        accelerometer: Largest deviation of specific force, m/s^2.

    Source: the published defaults of Laidig and Seel 2023, table 2.
    """

    seconds: float = 1.5
    tau: float = 0.5
    gyro: float = 2 * _DEGREE
    accelerometer: float = 0.5


@dataclass(frozen=True)
class GyroBias:
    """What is known of a gyroscope's bias beforehand and how well it is seen; rad/s.

    Args:
        initial: Standard deviation at the start.
        wander: Standard deviation of its change within `forgetting`.
        forgetting: Seconds.
        largest: Beyond it a bias, or one sample's disagreement, is cut.
        moving: Standard deviation that estimation settles at while the sensor moves.
        resting: The same at rest.
        vertical: Weight of the belief that the bias about the vertical, which moving does not show, is zero.
        rest: When the sensor rests.

    Source: the published defaults of Laidig and Seel 2023, table 2.
    """

    initial: float = 0.5 * _DEGREE
    wander: float = 0.1 * _DEGREE
    forgetting: float = 100.0
    largest: float = 2.0 * _DEGREE
    moving: float = 0.1 * _DEGREE
    resting: float = 0.03 * _DEGREE
    vertical: float = 1e-4
    rest: Rest = Rest()


class BiasState(NamedTuple):
    """Estimate (B, 3) with covariance (B, 3, 3), what the block so far says, and the low-passes."""

    bias: Tensor
    covariance: Tensor
    information: Tensor  #: (B, 3, 3)
    pull: Tensor  #: (B, 3)
    still: Tensor  #: (B,) seconds at rest
    body: LowPassState  #: of the raw signals, 6 channels
    frame: LowPassState  #: of the attitude and the bias's share of the tilt, 9 + 2 channels


class BiasEstimator:
    """A Kalman filter of the bias that takes its measurements in blocks.

    While the sensor moves, the rate at which the inclination has to be put right is the bias seen through the
    low-passed attitude; at rest the low-passed gyroscope is the bias itself. Within a block the bias stands still and
    measurements add up in information form, which is the same as one update a sample but for the feedback in the block.

    Args:
        settings: What is known beforehand.
        tau: Time constant of the low-pass of the inclination, seconds.
        rate: Samples a second.
        block: Most samples at once.
    """

    def __init__(self, settings: GyroBias, tau: float, rate: float, block: int) -> None:
        self.settings, self.rate = settings, rate
        self.body = LowPass(settings.rest.tau, rate, block)
        self.frame = LowPass(tau, rate, block)
        self.drive = settings.wander**2 / (settings.forgetting * rate)  # variance gained a sample

        def variance(deviation: float) -> float:
            """Of one sample, that the filter settles at this deviation (steady state of its Riccati equation)."""
            return deviation**4 / self.drive + deviation**2

        moving = variance(settings.moving)
        self.moving = (moving, moving, moving / max(settings.vertical, 1e-10))
        self.resting = variance(settings.resting)

    def start(self, batch: int, like: Tensor) -> BiasState:
        """Return the state before any sample."""
        eye = torch.eye(3).to(like).repeat(batch, 1, 1)
        zeros = like.new_zeros(batch, 3)
        low = self.body.start(batch, 6, like), self.frame.start(batch, 11, like)
        return BiasState(zeros, eye * self.settings.initial**2, 0 * eye, zeros, like.new_zeros(batch), *low)

    def gather(
        self, gyro: Tensor, force: Tensor, frame: Tensor, tilt: Tensor, state: BiasState
    ) -> tuple[Tensor, BiasState]:
        """Add measurements of samples within one block.

        Args:
            gyro: Raw angular rate, shape (B, n, 3), rad/s.
            force: Raw specific force, shape (B, n, 3), m/s^2.
            frame: Attitude without heading, shape (B, n, 3, 3).
            tilt: Angular rate that puts the inclination right, in the world, x and y, shape (B, n, 2), rad/s.
            state: Before them.

        Returns:
            Whether the sensor rests, (B, n), and the state after them.
        """
        smooth, body = self.body(torch.cat([gyro, force], -1), state.body)
        resting, still = self._rest(gyro, force, smooth, state.still)
        seen = (frame @ state.bias[:, None, :, None])[..., 0]
        low, passed = self.frame(torch.cat([frame.flatten(-2), seen[..., :2]], -1), state.frame)
        frame, share = low[..., :9].unflatten(-1, (3, 3)), low[..., 9:]
        flat = torch.cat([tilt + share, torch.zeros_like(tilt[..., :1])], -1)
        error = flat - (frame @ state.bias[:, None, :, None])[..., 0]
        eye, choose = torch.eye(3).to(gyro), resting[..., None]
        error = torch.where(choose, smooth[..., :3] - state.bias[:, None], error)
        error = error.clamp(-self.settings.largest, self.settings.largest)
        weight = torch.where(choose, 1 / self.resting, 1 / torch.tensor(self.moving).to(gyro))
        frame = torch.where(choose[..., None], eye, frame)
        weighted = (frame * weight[..., None]).flatten(1, 2)  # (B, 3 n, 3)
        information = state.information + weighted.mT @ frame.flatten(1, 2)
        pull = state.pull + (weighted.mT @ error.flatten(1, 2)[..., None])[..., 0]
        return resting, BiasState(state.bias, state.covariance, information, pull, still, body, passed)

    def close(self, state: BiasState, samples: int) -> BiasState:
        """Take in what a block of so many samples said."""
        eye = torch.eye(3).to(state.bias)
        grown = state.covariance + self.drive * samples * eye
        known = state.covariance.diagonal(dim1=-2, dim2=-1) < self.settings.initial**2
        prior = torch.where(known[..., None] & eye.bool(), grown, state.covariance)
        covariance = torch.linalg.solve(eye + prior @ state.information, prior)
        bias = state.bias + (covariance @ state.pull[..., None])[..., 0]
        bias = bias.clamp(-self.settings.largest, self.settings.largest)
        covariance = (covariance + covariance.mT) / 2
        return state._replace(bias=bias, covariance=covariance, information=0 * covariance, pull=torch.zeros_like(bias))

    def _rest(self, gyro: Tensor, force: Tensor, smooth: Tensor, still: Tensor) -> tuple[Tensor, Tensor]:
        """Return whether samples are at rest, and for how many seconds the last one was still."""
        rest = self.settings.rest
        calm = (gyro - smooth[..., :3]).square().sum(-1) < rest.gyro**2
        calm = calm & ((force - smooth[..., 3:]).square().sum(-1) < rest.accelerometer**2)
        calm = calm & (smooth[..., :3].abs().amax(-1) <= self.settings.largest)
        count = torch.arange(1, gyro.shape[1] + 1, device=gyro.device)
        broken = torch.where(calm, 0, count).cummax(1).values  # 1 + the last sample that moved
        since = (count - broken).to(gyro) / self.rate
        since = torch.where(broken == 0, since + still[:, None], since)
        return since >= rest.seconds, since[:, -1]
