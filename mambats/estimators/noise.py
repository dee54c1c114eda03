"""Covariances that are constant, grow with time, or are put together from others; all of them can be learned."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mambats.estimators.models import Noise


def check_covariance(covariance: Tensor, name: str) -> None:
    """Refuse what is not a symmetric positive definite matrix, or a batch of them.

    Args:
        covariance: Shape (..., k, k).
        name: What the message calls it.

    Raises:
        ValueError: If it is not square, not finite, not symmetric or singular.
    """
    if covariance.dim() < 2 or covariance.shape[-1] != covariance.shape[-2]:
        raise ValueError(f"{name} has shape {tuple(covariance.shape)}, needed (..., k, k): give a square matrix.")
    wide = covariance.detach().double()
    if not bool(wide.isfinite().all()):
        raise ValueError(f"{name} holds numbers that are not finite, needed a covariance: find what made them.")
    size = wide.diagonal(dim1=-2, dim2=-1).abs().clamp_min(1e-300).sqrt()
    scaled = wide / size.unsqueeze(-1) / size.unsqueeze(-2)
    skew = float((scaled - scaled.mT).abs().max()) if scaled.numel() else 0.0
    if skew > 1e-5:  # rounding of float32 leaves some 1e-7
        raise ValueError(
            f"{name} is not symmetric: cells mirror each other but for {skew:.3g} of their standard deviations. "
            f"Give (A + A') / 2 if that is what you mean."
        )
    if bool((torch.linalg.cholesky_ex(wide)[1] != 0).any()):
        least = float(torch.linalg.eigvalsh(wide).min())
        raise ValueError(
            f"{name} is not positive definite, its least eigenvalue is {least:.3g}: a covariance needs all of them "
            "above 0. Give what is known exactly a small variance instead of none."
        )


class ConstantNoise(Noise):
    """A covariance that does not depend on time: of a measurement, of a start, or of a step.

    Its parameters are the logarithms of the Cholesky factor's diagonal, and the factor's other cells over the diagonal
    cell of their row: any numbers there give a covariance. Built from standard deviations, it stays diagonal.

    Args:
        deviation: Standard deviations, k of them, above 0.
        covariance: Instead of them, a matrix (k, k), symmetric positive definite.

    Raises:
        ValueError: If not exactly one is given, or it is no covariance.

    Source: Pinheiro and Bates, Unconstrained parametrizations for variance-covariance matrices, Statistics and
        Computing 6, 1996 (log-Cholesky).
    """

    def __init__(
        self, deviation: Sequence[float] | None = None, covariance: Sequence[Sequence[float]] | Tensor | None = None
    ) -> None:
        super().__init__()
        self.deviation, self.covariance = deviation, covariance
        if (deviation is None) == (covariance is None):
            raise ValueError("ConstantNoise needs deviation or covariance, one of the two: give standard deviations.")
        factor = _factor(deviation, covariance)
        self.size = factor.shape[-1]
        diagonal = factor.diagonal()
        self.log_diagonal = nn.Parameter(diagonal.log())
        rows, columns = torch.tril_indices(self.size, self.size, -1)
        self.lower = None if covariance is None else nn.Parameter((factor / diagonal[:, None])[rows, columns])

    def forward(self, elapsed: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the covariance (B, k, k), whatever time has elapsed (B,)."""
        return _scaled(self.matrix().expand(elapsed.shape[0], -1, -1), scale)

    def matrix(self) -> Tensor:
        """Return the covariance, shape (k, k)."""
        root = self.log_diagonal.exp()
        if self.lower is None:
            return torch.diag(root.square())
        rows, columns = torch.tril_indices(self.size, self.size, -1, device=root.device)
        unit = torch.eye(self.size, dtype=root.dtype, device=root.device).index_put((rows, columns), self.lower)
        factor = root[:, None] * unit
        return factor @ factor.mT

    def extra_repr(self) -> str:
        """Return standard deviations, and correlations where there are any."""
        matrix = self.matrix().detach()
        deviation = matrix.diagonal().sqrt()
        text = f"deviation={_rounded(deviation)}"
        if self.lower is None:
            return text
        return f"{text}, correlation={_rounded(matrix / deviation[:, None] / deviation)}"


class RandomWalk(Noise):
    """White noise on each number's rate: the variance grows by density^2 a second.

    Args:
        density: Of each of k numbers, in its unit / s^0.5, above 0.

    Raises:
        ValueError: If a density is not above 0.
    """

    def __init__(self, density: Sequence[float]) -> None:
        super().__init__()
        self.density, self.size = density, len(density)
        self.log_density = nn.Parameter(_positive("density", density).log())

    def forward(self, elapsed: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the covariance (B, k, k) of a walk of elapsed (B,) seconds."""
        return _scaled(_integrated(self.log_density, elapsed, 1), scale)

    def extra_repr(self) -> str:
        """Return densities."""
        return f"density={_rounded(self.log_density.exp())}"


class WhiteAcceleration(Noise):
    """White acceleration on a state of d positions and then d velocities, k = 2 d.

    Args:
        density: Of acceleration along each of d axes, m/s^1.5 (m/s^2 / Hz^0.5), above 0.

    Raises:
        ValueError: If a density is not above 0.

    Source: Bar-Shalom, Li and Kirubarajan, Estimation with Applications to Tracking and Navigation, 2001,
        equation 6.2.2-12.
    """

    def __init__(self, density: Sequence[float]) -> None:
        super().__init__()
        self.density, self.size = density, 2 * len(density)
        self.log_density = nn.Parameter(_positive("density", density).log())

    def forward(self, elapsed: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the covariance (B, k, k) of what elapsed (B,) seconds of it move."""
        return _scaled(_integrated(self.log_density, elapsed, 2), scale)

    def extra_repr(self) -> str:
        """Return densities."""
        return f"density={_rounded(self.log_density.exp())}"


class WhiteJerk(Noise):
    """White jerk on a state of d positions, d velocities and then d accelerations, k = 3 d.

    Args:
        density: Of jerk along each of d axes, m/s^2.5 (m/s^3 / Hz^0.5), above 0.

    Raises:
        ValueError: If a density is not above 0.

    Source: as `WhiteAcceleration`, equation 6.2.3-9.
    """

    def __init__(self, density: Sequence[float]) -> None:
        super().__init__()
        self.density, self.size = density, 3 * len(density)
        self.log_density = nn.Parameter(_positive("density", density).log())

    def forward(self, elapsed: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the covariance (B, k, k) of what elapsed (B,) seconds of it move."""
        return _scaled(_integrated(self.log_density, elapsed, 3), scale)

    def extra_repr(self) -> str:
        """Return densities."""
        return f"density={_rounded(self.log_density.exp())}"


class BlockNoise(Noise):
    """Independent noises of parts of a state, one behind another.

    Args:
        parts: In the order of the state's numbers.

    Raises:
        ValueError: If there is none.
    """

    def __init__(self, parts: Sequence[Noise]) -> None:
        super().__init__()
        if not parts:
            raise ValueError("parts is empty: give at least one noise.")
        self._parts = nn.ModuleList(parts)
        self.size = sum(part.size for part in parts)

    @property
    def parts(self) -> list[Noise]:
        """The parts, in order."""
        return list(self._parts)  # pyright: ignore[reportReturnType]

    def forward(self, elapsed: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the covariance (B, k, k), zero between parts."""
        made, begin = list[Tensor](), 0
        for part in self.parts:
            end = begin + part.size
            block = part(elapsed, None if scale is None else scale[:, begin:end])
            made.append(nn.functional.pad(block, (begin, self.size - end)))
            begin = end
        return torch.cat(made, -2)


def _integrated(log_density: Tensor, elapsed: Tensor, orders: int) -> Tensor:
    """Covariance of white noise integrated `orders` times, the most integrated numbers first, shape (B, k, k)."""
    axes = torch.diag((2 * log_density).exp())
    rows = list[Tensor]()
    for i in range(orders - 1, -1, -1):
        cells = [
            elapsed ** (i + j + 1) / ((i + j + 1) * math.factorial(i) * math.factorial(j))
            for j in range(orders - 1, -1, -1)
        ]
        rows.append(torch.stack(cells, -1))
    growth = torch.stack(rows, -2).to(axes)  # (B, orders, orders)
    size = orders * axes.shape[0]
    return (growth[:, :, None, :, None] * axes[:, None, :]).reshape(-1, size, size)


def _scaled(covariance: Tensor, scale: Tensor | None) -> Tensor:
    if scale is None:
        return covariance
    return covariance * scale.unsqueeze(-1) * scale.unsqueeze(-2)


def _factor(deviation: Sequence[float] | None, covariance: Sequence[Sequence[float]] | Tensor | None) -> Tensor:
    """Cholesky factor of one of the two."""
    if deviation is not None:
        return torch.diag(_positive("deviation", deviation))
    matrix = covariance if isinstance(covariance, Tensor) else torch.tensor(covariance, dtype=torch.get_default_dtype())
    check_covariance(matrix, "covariance")
    if matrix.dim() != 2:
        raise ValueError(f"covariance has shape {tuple(matrix.shape)}, needed (k, k): give one matrix.")
    return torch.linalg.cholesky(matrix.detach().double()).to(matrix)


def _positive(name: str, values: Sequence[float]) -> Tensor:
    """A vector of numbers above 0."""
    made = torch.as_tensor(values)
    made = (made if made.is_floating_point() else made.to(torch.get_default_dtype())).detach().clone()
    if made.dim() != 1 or not len(made) or not bool(((made > 0) & made.isfinite()).all()):
        raise ValueError(f"{name} is {values}, needed a list of numbers above 0: what has none gets a small one.")
    return made


def _rounded(values: Tensor) -> list[object]:
    """Numbers of four digits, as text shows them."""
    shown = [float(f"{v:.4g}") for v in values.detach().double().flatten()]
    return torch.tensor(shown, dtype=torch.float64).reshape(values.shape).tolist()
