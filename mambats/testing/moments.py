"""Random measurements for the laws of estimators, and playing them to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mambats.protocols import Estimator, Innovation
from mambats.series import SensorRows


class Moment(NamedTuple):
    """Time that passes and a measurement at its end.

    Args:
        elapsed: Seconds, shape (B,).
        stream: Which sensor.
        value: Shape (B, m).
        mask: Rows that measured, shape (B,) bool.
    """

    elapsed: Tensor
    stream: str
    value: Tensor
    mask: Tensor

    def rows(self, chosen: Tensor | slice) -> Moment:
        """Some of the series."""
        return Moment(self.elapsed[chosen], self.stream, self.value[chosen], self.mask[chosen])


def draw_moments(
    estimator: Estimator, count: int, batch: int, like: Tensor, *, seed: int, scale: float, kept: float = 0.8
) -> list[Moment]:
    """Draw moments from a seed: streams in turn, then at random; times about 0.1 s, some 0; normal values.

    Args:
        estimator: Whose streams.
        count: Moments.
        batch: Series, B.
        like: For dtype and device.
        seed: Same seed, same moments.
        scale: Standard deviation of the values.
        kept: Share of rows that measure.
    """
    g = torch.Generator().manual_seed(seed)
    names, made = list(estimator.streams), list[Moment]()
    for k in range(count):
        name = names[k % len(names) if k < 2 * len(names) else int(torch.randint(len(names), (), generator=g))]
        elapsed = 0.2 * torch.rand(batch, generator=g, dtype=torch.float64)
        elapsed = torch.where(torch.rand(batch, generator=g) < 0.2, 0.0, elapsed)
        value = scale * torch.randn(batch, estimator.streams[name], generator=g, dtype=torch.float64)
        mask = torch.rand(batch, generator=g) < kept
        made.append(Moment(elapsed.to(like), name, value.to(like), mask.to(like.device)))
    return made


def play(estimator: Estimator, state: Any, moments: Sequence[Moment]) -> tuple[Any, list[Innovation]]:
    """Predict and update through moments; return the state after them and what each told."""
    told = list[Innovation]()
    for moment in moments:
        state = estimator.predict(state, moment.elapsed)
        state, said = estimator.update(state, moment.stream, moment.value, mask=moment.mask)
        told.append(said)
    return state, told


def as_window(estimator: Estimator, moments: Sequence[Moment]) -> tuple[dict[str, SensorRows], int]:
    """Write moments as rows of streams of a window, and its length in nanoseconds.

    Times are rounded to nanoseconds, and a moment that some series did not measure at is a row that does not exist.
    """
    elapsed = torch.stack([moment.elapsed.double() for moment in moments], 1)
    stamps = (elapsed.cumsum(1) * 1e9).round().long()
    rows = dict[str, SensorRows]()
    for name in estimator.streams:
        own = [k for k, moment in enumerate(moments) if moment.stream == name]
        if own:
            values = torch.stack([moments[k].value for k in own], 1)
            mask = torch.stack([moments[k].mask for k in own], 1)
            rows[name] = SensorRows(values, mask, mask.to(torch.float32), stamps[:, own])
    return rows, int(stamps.max()) + 1
