"""The hybrid: an inertial filter whose noise an encoder sets, followed over long drives a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from mambats.estimators.inertial import InertialFilter, NavigationState
from mambats.estimators.learned import LearnedNoise, LearnedState
from mambats.estimators.learned.noise import cut_gradient
from mambats.odometry.bank import at_moments
from mambats.odometry.navigation import POSITION, SIZE, Navigation
from mambats.protocols import Encoder
from mambats.series import SensorRows

#: Largest factor on a deviation. Where the unit is off, the gyroscope's bias has to follow the wheels' rate of turn:
#: 0.5 rad/s in a second, some thousand times what a sound unit's bias walks.
WIDEST = 1000.0


def hybrid_filter(filter_: InertialFilter, encoder: Encoder) -> LearnedNoise:
    """Return a filter whose noise an encoder sets; untrained it is the filter itself, to the bit.

    Args:
        filter_: In float64 keeps its precision; its own noises are fixed here, only the factors on them are learned.
        encoder: Causal, of `LearnedNoise.channels_for(filter_)` channels.
    """
    filter_.requires_grad_(False)
    return LearnedNoise(filter_, encoder, widest=WIDEST)


def pieces(
    rows: Mapping[str, SensorRows], length_ns: int, piece_ns: int
) -> Iterator[tuple[int, int, dict[str, SensorRows]]]:
    """Cut a batch of windows into pieces that follow one another: yield (begin, length, rows), stamps since the begin.

    A row at an edge belongs to the piece that ends there, as a filter takes it.

    Args:
        rows: By stream.
        length_ns: Of the windows.
        piece_ns: Of a piece but the last. A filter that averages wheels needs a multiple of its `wheel_period`.

    Raises:
        ValueError: If a piece has no length.
    """
    if piece_ns < 1:
        raise ValueError(f"piece_ns is {piece_ns}: need nanoseconds, at least 1.")
    edges = [*range(0, length_ns, piece_ns), length_ns]
    for begin, end in pairwise(edges):
        yield begin, end - begin, {name: _between(one, begin, end) for name, one in rows.items()}


def _between(rows: SensorRows, begin: int, end: int) -> SensorRows:
    """Rows behind `begin`, or from it on where it is the window's, to `end`."""
    inside = rows.mask & (rows.stamps <= end) & (rows.stamps > (begin or -1))
    longest = max(1, int(inside.sum(1).max()))
    order = (~inside).int().argsort(dim=1, stable=True)[:, :longest]
    mask = inside.gather(1, order)
    deep = order[..., None].expand(-1, -1, rows.values.shape[2])
    values = torch.where(mask[..., None], rows.values.gather(1, deep), 0.0)
    gaps, stamps = rows.gaps.gather(1, order) * mask, (rows.stamps.gather(1, order) - begin) * mask
    observed = None if rows.observed is None else rows.observed.gather(1, deep) & mask[..., None]
    return replace(rows, values=values, mask=mask, gaps=gaps, stamps=stamps, observed=observed)


def lessons(
    model: InertialFilter | LearnedNoise,
    rows: Mapping[str, SensorRows],
    length_ns: int,
    state: NavigationState | LearnedState,
    piece_ns: int,
) -> Iterator[tuple[Navigation, NavigationState | LearnedState]]:
    """Follow drives piece by piece: yield the estimates at the piece's ticks and the state at its end.

    Gradients reach back to the piece's start (truncated backpropagation through time). A caller may so take a step of
    training behind each piece, while the filter drives on: its state is kept, and a minute's drive is seen as a whole.

    Args:
        model: The filter, or the hybrid.
        rows: As `mambats.odometry.bank.ready` makes them: `query` asks for the ticks.
        length_ns: Of the drives.
        state: At their start.
        piece_ns: Of a piece, see `pieces`.
    """
    for _, length, part in pieces(rows, length_ns, piece_ns):
        # A state fits the model that made it; the union cannot say so.
        track, state = model.run(part, length, state)  # pyright: ignore[reportArgumentType]
        yield Navigation(*at_moments(track, part["query"].stamps)), state
        state = type(state)(*cut_gradient(tuple(state)))


@torch.no_grad()
def follow(
    model: InertialFilter | LearnedNoise,
    rows: Mapping[str, SensorRows],
    length_ns: int,
    state: NavigationState | LearnedState,
    piece_ns: int = 5_000_000_000,
) -> Navigation:
    """Return the estimates (B, T, ...) at all ticks of the drives, online; arguments as of `lessons`."""
    found = [estimate for estimate, _ in lessons(model, rows, length_ns, state, piece_ns)]
    return Navigation(*(torch.cat(part, 1) for part in zip(*found, strict=True)))


class StudentLoss(nn.Module):
    """Minus the log density of a Student distribution for rotation, velocity and position, and the log of the miss.

    A filter that believes a dead unit is 1,000 deviations off. Under a Gaussian, even one that grows linearly, such
    drives rule a batch; here each has at most a say of `freedom` + 9, and a calibrated one nearly that of a Gaussian.

    Args:
        freedom: Degrees of freedom.
        position: Weight of log(1 + miss^2 / near^2).
        near: Metres of miss that are as good as none.
        regret: Weight of what that logarithm is above the plain filter's, where it is: the hybrid must not lose.
    """

    def __init__(self, freedom: float = 30.0, position: float = 0.3, near: float = 0.5, regret: float = 1.0) -> None:
        super().__init__()
        self.freedom, self.position, self.near, self.regret = freedom, position, near, regret

    def forward(self, error: Tensor, covariance: Tensor, plain: Tensor | None = None) -> Tensor:
        """Return the mean over errors, nats per number.

        Args:
            error: Truth less estimate, shape (..., 9).
            covariance: That was said of it, shape (..., 9, 9).
            plain: Errors of the plain filter at the same moments, shape (..., 9), or None to compare with nothing.
        """
        root = root_of(covariance)
        white = torch.linalg.solve_triangular(root, error[..., None], upper=False)[..., 0]
        far = torch.log1p(white.square().sum(-1) / self.freedom)
        log_root = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        miss = self._miss(error)
        value = (0.5 * (self.freedom + SIZE) * far + log_root).mean() / SIZE + self.position * miss.mean()
        return value if plain is None else value + self.regret * (miss - self._miss(plain)).clamp_min(0).mean()

    def _miss(self, error: Tensor) -> Tensor:
        return torch.log1p(error[..., POSITION].square().sum(-1) / self.near**2)


def root_of(covariance: Tensor) -> Tensor:
    """Return Cholesky factors of covariances (..., 9, 9), in spite of rounding: correlations of at most 1 - 1e-9."""
    size = covariance.diagonal(dim1=-2, dim2=-1).clamp_min(1e-18).sqrt()
    unit = 0.5 * (covariance + covariance.mT) / (size[..., :, None] * size[..., None, :])
    eye = torch.eye(SIZE, dtype=unit.dtype, device=unit.device)
    return size[..., None] * torch.linalg.cholesky(unit + 1e-9 * eye)
