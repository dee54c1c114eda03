"""Noise of boxes and of motion, and how sure a body is there, from the history of a track's innovations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mambats.protocols import Encoder, State
from mambats.track.detector import ScoreCalibration, ground_range
from mambats.track.existence import Existence
from mambats.track.learned.box import FEATURES, SIZE, box_covariance, correlation_root
from mambats.track.motion import ConstantVelocity

#: What a head says: factors on deviations of a box and on densities of motion, of freedom, and log odds.
SAID = (SIZE, SIZE, 1, 1)
#: Number of a state whose process noise each density drives: x, y, z, sizes, yaw, and the velocities with x, y, z.
DRIVEN = (0, 1, 2, 3, 4, 5, 6, 0, 1, 2)


class Memory(NamedTuple):
    """What is carried of each of T tracks.

    Args:
        encoded: State of the encoder, or None.
        said: Of the next innovation: logarithms of factors, and log odds, shape (T, 16) float64.
        level: Logarithm of the variance's factor that the last innovations ask for, shape (T,).
    """

    encoded: State
    said: Tensor
    level: Tensor


class Seen(NamedTuple):
    """What an encoder is shown of the detections that tracks took, a row a track.

    Args:
        residual: Measured less predicted, shape (T, 7); zeros where a track begins.
        covariance: Of it, shape (T, 7, 7).
        nis: Shape (T,).
        yaw: Measured, shape (T,).
        about: `box_features` of the detection, shape (T, 9).
        hits: Detections so far, this one among them, shape (T,).
    """

    residual: Tensor
    covariance: Tensor
    nis: Tensor
    yaw: Tensor
    about: Tensor
    hits: Tensor


class Settings(NamedTuple):
    """The classical part of tracks, a row a track, or one row for tracks of one class.

    Args:
        weights: Of the logarithms of deviations over `FEATURES`, shape (T, 7, 9).
        root: Cholesky factors of correlations, shape (T, 7, 7).
        drive: Logarithms of densities, m/s^1.5 along three axes, and of the walks, shape (T, 7).
        speed: Deviations of the first velocity, m/s, shape (T, 3).
        freedom: Logarithm of the degrees beyond 2, shape (T,).
        keeps: Share of the level that a period leaves, shape (T,).
        gain: Shape (T,).
        kinds: One of the class, else zero, shape (T, classes).
        trust: What is taken of each thing that the encoder says, 0 to 1, shape (T, 16).
        shift: Added to the log odds that it says, shape (T,).
        rules: Of existence: seen, leaving, prior, most, shape (T, 4).
    """

    weights: Tensor
    root: Tensor
    drive: Tensor
    speed: Tensor
    freedom: Tensor
    keeps: Tensor
    gain: Tensor
    kinds: Tensor
    trust: Tensor
    shift: Tensor
    rules: Tensor


class InnovationNoise(nn.Module):
    """Classical noise by class, range, score and aspect with a level that follows the innovations; and a learned part.

    Classical (all numbers are `base`, found by likelihood): deviations and correlations of a box's errors, densities
    of motion, freedom of Student's t, and the level. The level is a score-driven scale, log variance
    g <- persistence^frames g + gain ((freedom + 7) / (freedom - 2 + nis) nis / 7 - 1), bounded whatever comes.

    Learned: a causal encoder reads one row a detection taken and says factors on all deviations, on the freedom, and
    what to add to the log odds of existence. Its head starts at zero: before training it is the classical model. How
    much of each part counts, class by class, is `trust`, which `guard` finds: 0 is the classical model again.

    Args:
        classes: Names.
        encoder: Causal, of `channels_for(classes)` channels; None leaves the classical part alone.
        existence: How log odds go on from frame to frame in the tracker of each class, which the encoder adds to:
            beside another rule it learns to add what the tracker has already. None stands for `Existence(seen=0.5)`.
        surprise: As of `Updater`.
        widest: Largest factor that the encoder may set, its inverse the smallest.
        period: Seconds between frames that noise is fitted at: a gap of 1 to the encoder.
        ranged: Names of the classes whose scores are calibrated by range, too, see `ScoreCalibration`.

    Raises:
        ValueError: If the encoder does not fit, there is no class, one of `ranged` is none of them, or a number is out
            of range.

    Source: Harvey, Dynamic Models for Volatility and Heavy Tails, 2013, chapter 4 (Beta-t-EGARCH).
    """

    score: Tensor
    trust: Tensor
    shift: Tensor
    rules: Tensor

    def __init__(
        self,
        classes: Sequence[str],
        encoder: Encoder | None = None,
        existence: Sequence[Existence] | None = None,
        surprise: float = 20.0,
        widest: float = 5.0,
        period: float = 0.1,
        ranged: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if strange := sorted(set(ranged) - set(classes)):
            raise ValueError(f"ranged names {', '.join(strange)}: needed some of the classes {', '.join(classes)}.")
        if not classes or not (surprise > 0 and widest > 1 and period > 0):
            raise ValueError(
                f"classes are {list(classes)}, surprise {surprise}, widest {widest}, period {period}: needed one class "
                "or more, numbers above 0 and a factor above 1."
            )
        lasting = existence or [Existence(seen=0.5)] * len(classes)
        if len(lasting) != len(classes):
            raise ValueError(f"existence has {len(lasting)} rules for {len(classes)} classes: give one a class.")
        self.classes, self.encoder, self.existence = tuple(classes), encoder, existence
        self.surprise, self.widest, self.period = surprise, widest, period
        self.ranged = ranged
        table = torch.tensor([[one.seen, one.leaving, one.prior, one.most] for one in lasting], dtype=torch.float64)
        self.register_buffer("rules", table, persistent=False)
        self.register_buffer("trust", torch.ones(len(classes), len(SAID), dtype=torch.float64))
        self.register_buffer("shift", torch.zeros(len(classes), dtype=torch.float64))
        self.base = _base(len(self.classes))
        self.register_buffer("score", torch.tensor([[1.0, -3.0, 0.0]] * len(self.classes), dtype=torch.float64))
        self._kept: tuple[tuple[float, torch.device], tuple[Tensor, Tensor]] | None = None
        self._motion = ConstantVelocity([1.0] * 3, [1.0] * 4).double().requires_grad_(False)
        if encoder is not None:
            if encoder.channels != self.channels_for(classes) or not encoder.causal:
                raise ValueError(
                    f"the encoder has {encoder.channels} channels, causal={encoder.causal}: needed a causal one of "
                    f"{self.channels_for(classes)} (`InnovationNoise.channels_for`)."
                )
            self.head = nn.Linear(encoder.width, sum(SAID))
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    @staticmethod
    def channels_for(classes: Sequence[str]) -> int:
        """Return the channels that an encoder needs."""
        return SIZE + 7 + len(classes)

    def classical(self) -> InnovationNoise:
        """Return the model without its encoder."""
        made = InnovationNoise(self.classes, None, self.existence, self.surprise, self.widest, self.period, self.ranged)
        own = made.state_dict()
        made.load_state_dict({name: one for name, one in self.state_dict().items() if name in own})
        return made.to(self.score.device).requires_grad_(False)

    def odds(self, score: Tensor, kind: Tensor, boxes: Tensor) -> Tensor:
        """Return log odds of scores (..., T) of boxes (..., T, 7) of classes (T,) or of the scores' shape."""
        slope, offset, term = self.score[kind].unbind(-1)
        return slope * score + offset + term * ground_range(boxes) / 10

    def calibration(self, kind: int) -> ScoreCalibration:
        """Return the calibration of a class."""
        return ScoreCalibration(*self.score[kind].tolist())

    def settings(self, kind: Tensor) -> Settings:
        """Return the classical part of classes (T,) int64."""
        base, kinds = self.base, torch.eye(len(self.classes), dtype=torch.float64, device=kind.device)
        root, keeps = correlation_root(base["lower"])[kind], torch.sigmoid(base["keeps"])[kind]
        speed, gain = base["speed"].exp()[kind], base["gain"].exp()[kind]
        trust = self.trust.repeat_interleave(torch.tensor(SAID, device=kind.device), 1)[kind]
        return Settings(
            base["weights"][kind], root, base["drive"][kind], speed, base["freedom"][kind], keeps, gain, kinds[kind],
            trust, self.shift[kind], self.rules[kind],
        )  # fmt: skip

    def sensor(self, about: Tensor, yaw: Tensor, settings: Settings, memory: Memory) -> Tensor:
        """Return covariances (T, 7, 7) of boxes at yaw (T,) that are `about` (T, 9), with the factors said."""
        classical = (settings.weights @ about[..., None])[..., 0]
        deviation = (classical + memory.said[:, :SIZE] + 0.5 * memory.level[:, None]).exp()
        return box_covariance(deviation, settings.root, yaw)

    def process(self, elapsed: float, settings: Settings, memory: Memory) -> Tensor:
        """Return the covariances (T, 10, 10) that `elapsed` seconds add to states."""
        log_density = settings.drive + memory.said[:, SIZE : 2 * SIZE] + 0.5 * memory.level[:, None]
        density = log_density.exp()[:, DRIVEN]
        return self._step(elapsed)[1] * density[:, :, None] * density[:, None, :]

    def transition(self, elapsed: float) -> Tensor:
        """Return the matrix (10, 10) that moves states by some seconds."""
        return self._step(elapsed)[0]

    def _step(self, elapsed: float) -> tuple[Tensor, Tensor]:
        """Transition and noise of densities 1; those of the last step are kept, for frames come evenly."""
        if self._kept is None or self._kept[0] != (elapsed, self.score.device):
            time, nothing = self.score.new_tensor([elapsed]), self.score.new_zeros(1, len(DRIVEN))
            made = self._motion.jacobian(nothing, time)[0], self._motion.noise(time)[0]
            self._kept = (elapsed, self.score.device), made
        return self._kept[1]

    def freedom(self, settings: Settings, memory: Memory) -> Tensor:
        """Return the degrees of freedom (T,) of the next innovation, 2.5 to 102."""
        return 2 + (settings.freedom + memory.said[:, 2 * SIZE]).clamp(math.log(0.5), math.log(100)).exp()

    def init_state(self, batch: int) -> Memory:
        """Return the memory of tracks that nothing was seen of."""
        encoded = None if self.encoder is None else self.encoder.init_state(batch)
        nothing = self.score.new_zeros(batch, sum(SAID))
        return Memory(encoded, nothing, nothing[:, 0])

    def step(self, seen: Seen, gap: float, mask: Tensor, settings: Settings, memory: Memory) -> Memory:
        """Take a frame.

        Args:
            seen: A row a track; what stands in rows that took nothing does not count.
            gap: Since the frame before, periods.
            mask: Which tracks took a detection, shape (T,) bool.
            settings: Of the tracks.
            memory: After the frame before.
        """
        freedom = self.freedom(settings, memory)
        told = (freedom + SIZE) / (freedom - 2 + seen.nis) * seen.nis / SIZE - 1
        news = torch.where(mask & (seen.hits > 1), settings.gain * told.detach(), 0.0)
        level = (settings.keeps**gap * memory.level + news).clamp(-3.0, 3.0)
        if self.encoder is None:
            return memory._replace(level=level)
        rows = self.rows(seen, settings).to(self.head.weight.dtype)
        gaps = torch.full_like(rows[:, 0], gap)
        token, encoded = self.encoder.step(rows, gaps, mask_t=mask, state=memory.encoded)
        wide = math.log(self.widest)
        said = self.head(token).to(memory.said)
        odds = (settings.trust[:, -1] * said[:, -1] + settings.shift)[:, None]
        said = torch.cat([settings.trust[:, :-1] * wide * torch.tanh(said[:, :-1] / wide), odds], -1)
        return Memory(encoded, torch.where(mask[:, None], said, memory.said), level)

    def rows(self, seen: Seen, settings: Settings) -> Tensor:
        """Return what the encoder reads (T, channels), each number within about 5; no gradient goes through."""
        residual, deviation = _along(seen.residual, seen.covariance, seen.yaw)
        level = 0.5 * (seen.nis / SIZE).clamp(1e-3, 1e6).log()
        first = (seen.hits <= 1).to(level)
        about = seen.about
        rest = torch.stack([level * (1 - first), first, seen.hits.to(level).log1p() / 3, about[:, 1]], -1)
        odds, kinds = about[:, 3:7].sum(-1, keepdim=True) / 4, settings.kinds.expand(len(rest), -1)
        made = torch.cat([torch.asinh(residual / deviation), rest, odds, about[:, 7:], kinds], -1)
        return torch.where(made.isfinite(), made, 0.0).detach()


def _along(residual: Tensor, covariance: Tensor, yaw: Tensor) -> tuple[Tensor, Tensor]:
    """Residuals (T, 7) and their deviations (T, 7) along boxes at yaw (T,)."""
    cos, sin, (x, y) = yaw.cos(), yaw.sin(), residual[:, :2].unbind(-1)
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    (xx, yy), xy = variance[:, :2].unbind(-1), 2 * sin * cos * covariance[:, 0, 1]
    turned = torch.stack([cos * x + sin * y, cos * y - sin * x], -1)
    own = torch.stack([cos * cos * xx + xy + sin * sin * yy, sin * sin * xx - xy + cos * cos * yy], -1)
    return torch.cat([turned, residual[:, 2:]], -1), torch.cat([own, variance[:, 2:]], -1).sqrt()


def _base(kinds: int) -> nn.ParameterDict:
    """Numbers to start from: deviations of centimetres to decimetres, and of degrees."""
    first = torch.tensor([0.15, 0.08, 0.07, 0.15, 0.08, 0.08, 0.1], dtype=torch.float64).log()
    weights = torch.zeros(kinds, SIZE, len(FEATURES), dtype=torch.float64)
    weights[..., 0], weights[..., 1], weights[..., 3:6] = first, 0.2, -0.1
    drive = torch.tensor([0.8, 0.8, 0.3, 0.05, 0.03, 0.03, 0.1], dtype=torch.float64).log()
    start = {"weights": weights, "lower": torch.zeros(kinds, SIZE, SIZE), "drive": drive.repeat(kinds, 1)}
    start |= {"speed": torch.tensor([6.0, 2.0, 0.2]).log().repeat(kinds, 1), "freedom": torch.full((kinds,), 2.5)}
    start |= {"keeps": torch.full((kinds,), 2.0), "gain": torch.full((kinds,), -2.0)}
    return nn.ParameterDict({name: nn.Parameter(one.double()) for name, one in start.items()})
