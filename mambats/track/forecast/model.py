"""From the histories of tracks to where their bodies will be, with uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mambats.protocols import Encoder
from mambats.track.detector import turns
from mambats.track.forecast.batch import Forecast, ForecastBatch
from mambats.track.forecast.course import Course, spread_after, straight
from mambats.track.forecast.features import channels, features, over_ground
from mambats.track.forecast.own_motion import OwnMotion
from mambats.track.forecast.stepping import FRAMES, ForecastState, Moment, renewed, shifted

PERIOD = 0.1  # seconds between frames that an encoder's gap of 1 stands for
COURSE = 11  # numbers that say a mode's mean: two of the sensor's turn, four of arcs, five of what these leave over
MOST = 3.0  # of logarithms of factors, and of a shear: float32 can still factor what comes of it
# Bodies of a class that teach as much as nothing learned does. With 30, tracked pedestrians (47 tracks, 36 without the
# largest sequence) lost 4 cm at 2 s to the sensor's turn alone, with 100 one; the others lose at most 1.3 cm by it.
FEW = 100.0
CLOSE = 1e-3  # metres: no place is known better


class Told(NamedTuple):
    """What a head says of one token, before it is put together; K modes, H horizons."""

    course: Tensor  # (..., K, 11)
    shape: Tensor  # (..., K, H, 3): logarithms of two factors on deviations, and a shear
    logits: Tensor  # (..., K)


class TrajectoryForecaster(nn.Module):
    """Forecast the places of tracked bodies as the sensor will see them, from constant velocity on.

    Untrained it says what the filter says: the place at constant velocity, with the covariance of white acceleration
    times a factor by class and horizon, which `calibrate` sets. Training adds arcs and accelerations of the body and
    of the sensor, which no pose is needed for: `own_motion` tells it from all tracks up to a frame.

    Args:
        encoder: Causal, of `mambats.track.forecast.channels(len(classes))` channels.
        classes: Names.
        horizons: Seconds, rising.
        modes: Gaussians of the mixture.
        density: Of the white acceleration in the filter's motion, m/s^1.5, of all classes or of each.

    Raises:
        ValueError: If the encoder looks ahead or has other channels, or horizons do not rise from above 0.

    Example:
        model = TrajectoryForecaster(CausalEncoder(channels(3), 32, 2), ("Car", "Pedestrian", "Cyclist"))
        forecast = model(batch)
    """

    factor: Tensor
    walk: Tensor
    trust: Tensor
    widths: Tensor
    time: Tensor

    def __init__(
        self,
        encoder: Encoder,
        classes: Sequence[str],
        horizons: Sequence[float] = (0.5, 1.0, 1.5, 2.0),
        modes: int = 1,
        density: float | Sequence[float] = 8.0,
    ) -> None:
        super().__init__()
        wanted = channels(len(classes))
        if not encoder.causal or encoder.channels != wanted:
            raise ValueError(f"encoder has {encoder.channels} channels: needed a causal one of {wanted}.")
        if not horizons or min(horizons) <= 0 or list(horizons) != sorted(set(horizons)) or modes < 1:
            raise ValueError(f"horizons are {list(horizons)} s, modes {modes}: needed rising, above 0; at least 1.")
        self.encoder, self.classes, self.horizons = encoder, tuple(classes), tuple(horizons)
        self.modes, self.density = modes, density
        each = [density] * len(self.classes) if isinstance(density, int | float) else list(density)
        if len(each) != len(self.classes) or min(each) <= 0:
            raise ValueError(f"density is {density}: needed one number above 0, or one for each of {self.classes}.")
        steps = len(self.horizons)
        self.register_buffer("walk", torch.tensor(each), persistent=False)
        self.inner = nn.Sequential(nn.Linear(encoder.width + wanted, 64), nn.SiLU())
        self.head = nn.Linear(64, modes * (COURSE + 3 * steps + 1))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("time", torch.tensor(self.horizons), persistent=False)
        self.register_buffer("factor", torch.ones(len(self.classes), steps))
        self.register_buffer("trust", torch.ones(len(self.classes)))
        # Modes must differ to part: each begins as wide as no other.
        widths = torch.linspace(-0.7, 0.7, modes) if modes > 1 else torch.zeros(1)
        self.register_buffer("widths", widths[:, None, None] * torch.tensor([1.0, 1.0, 0.0]), persistent=False)

    def forward(self, batch: ForecastBatch) -> Forecast:
        """Return the forecasts (N, T, K, H) of a batch, each from what its track's past and present tell."""
        own = OwnMotion.of(batch.own)
        row = features(batch, own, len(self.classes))
        token, _ = self.encoder(row, batch.elapsed / PERIOD, mask=batch.seen)
        return self.answer(batch, own, self.told(torch.cat([token, row], -1), batch.labels))

    def init_state(self, batch: int) -> ForecastState:
        """Return the state of so many tracks before the first frame."""
        return ForecastState(None, self.encoder.init_state(batch))

    def renewed(self, state: ForecastState, which: Tensor) -> ForecastState:
        """Return the state with the tracks where `which` (N,) is True forgotten: others begin in their places."""
        return renewed(state, which, self.encoder.init_state(len(which)))

    def step(self, moment: Moment, state: ForecastState) -> tuple[Forecast, ForecastState]:
        """Return the forecasts (N, K, H) at one frame: those of `forward` there, and what to remember.

        Raises:
            ValueError: If there are more or fewer tracks than the state has.
        """
        window = shifted(state, moment)
        own = OwnMotion.of(window.own)
        row = features(window, own, len(self.classes))[:, -1]
        token, encoder = self.encoder.step(row, moment.elapsed / PERIOD, mask_t=moment.seen, state=state.encoder)
        last = window._replace(**{name: getattr(window, name)[:, -1:] for name in FRAMES})
        here = OwnMotion(*(part[:, -1:] for part in own))
        said = self.answer(last, here, self.told(torch.cat([token, row], -1)[:, None], moment.labels))
        return Forecast(*(part[:, 0] for part in said)), ForecastState(window, encoder)

    def told(self, token: Tensor, labels: Tensor) -> Told:
        """Return what the head says of tokens (N, T, ...) with their rows, as far as their classes (N,) are trusted."""
        said = self.head(self.inner(token)) * self.trust[labels][:, None, None]
        said = said.unflatten(-1, (self.modes, -1))
        shape = said[..., COURSE:-1].unflatten(-1, (len(self.horizons), 3)) + self.widths
        return Told(said[..., :COURSE], shape, said[..., -1])

    def answer(self, batch: ForecastBatch, own: OwnMotion, told: Told) -> Forecast:
        """Return the forecast that a head's numbers mean."""
        gate, turn, bend, push, thrust, *rest = told.course.unbind(-1)
        place, velocity = (batch.mean[..., None, part].expand(*gate.shape, 2) for part in (slice(0, 2), slice(7, 9)))
        course = Course(
            place, velocity, own.velocity[..., None, :].expand(*gate.shape, 2),
            (1 + gate) * own.turn[..., None] + 0.1 * turn, 0.3 * bend, push, thrust,
        )  # fmt: skip
        left = torch.stack(rest, -1)
        slip = left[..., None, :2] * self.time[:, None] + left[..., None, 2:4] * self.time.square()[:, None] / 2
        slip = (turns(batch.mean[..., 6])[..., None, None, :, :] @ slip[..., None])[..., 0]
        along = _unit(over_ground(batch, own))[..., None, None, :] * (left[..., 4:5] * self.time)[..., None]
        return Forecast(course.after(self.time) + slip + along, self._covariance(batch, told.shape), told.logits)

    def plain(self, batch: ForecastBatch, scaled: bool = True) -> Forecast:
        """Return the forecast of constant velocity: its covariance times the factors, or as the filter has it."""
        density = self.walk[batch.labels][:, None].expand(batch.seen.shape)
        said = straight(batch.mean, batch.covariance, self.time, density)
        covariance = said.covariance * (self._factors(batch) if scaled else 1.0)
        return Forecast(
            said.mean[..., None, :, :], covariance[..., None, :, :, :], torch.zeros_like(density)[..., None]
        )

    @torch.no_grad()
    def calibrate(self, batch: ForecastBatch) -> None:
        """Set the factors so that constant velocity is as far off as it says, in the median of every class.

        Half of the squared errors in two numbers are below 1.386 covariances; the mean would be that of the worst. A
        class is trusted with n / (n + 100) of what is learned, of n bodies: what 20 cyclists teach is mostly chance.
        """
        said, asked = self.plain(batch, scaled=False), batch.asked
        away = (batch.truth - said.mean[..., 0, :, :]).nan_to_num()
        square = (away[..., None, :] @ torch.linalg.solve(said.covariance[..., 0, :, :, :], away[..., None]))[..., 0, 0]
        for label in range(len(self.classes)):
            bodies = float((asked.any(-1).any(-1) & (batch.labels == label)).sum())
            self.trust[label] = bodies / (bodies + FEW)
            for step in range(len(self.horizons)):
                rows = asked[..., step] & (batch.labels == label)[:, None]
                if bool(rows.any()):
                    self.factor[label, step] = (square[..., step][rows].median() / 1.386).clamp(1e-4, 1e4)

    def _factors(self, batch: ForecastBatch) -> Tensor:
        return self.factor[batch.labels][:, None, :, None, None]

    def _covariance(self, batch: ForecastBatch, shape: Tensor) -> Tensor:
        """Covariances (N, T, K, H, 2, 2): the filter's, stretched along and across the sensor's view and sheared."""
        density = self.walk[batch.labels][:, None].expand(batch.seen.shape)
        plain = spread_after(batch.covariance, self.time, density) * self._factors(batch)
        one, two, shear = shape.clamp(-MOST, MOST).unbind(-1)
        one, two = one.exp(), two.exp()
        rows = torch.stack([one, torch.zeros_like(one)], -1), torch.stack([shear * two, two], -1)
        lower = torch.stack(rows, -2)
        sight = _axes(batch.mean[..., :2])[..., None, None, :, :]
        turned = sight.mT @ plain[..., None, :, :, :] @ sight
        made = sight @ (lower @ turned @ lower.mT) @ sight.mT
        made = (made + made.mT) / 2
        return made + CLOSE**2 * torch.eye(2, dtype=made.dtype, device=made.device)


def _unit(vector: Tensor) -> Tensor:
    return vector / (1 + vector.square().sum(-1, keepdim=True)).sqrt()


def _axes(place: Tensor) -> Tensor:
    """Columns: the direction from the sensor to a place, and that to the left of it; shape (..., 2, 2)."""
    ahead = place / place.norm(dim=-1, keepdim=True).clamp_min(1e-3)
    ahead = torch.where(place.norm(dim=-1, keepdim=True) < 1e-3, ahead.new_tensor([1.0, 0.0]), ahead)
    return torch.stack([ahead, torch.stack([-ahead[..., 1], ahead[..., 0]], -1)], -1)
