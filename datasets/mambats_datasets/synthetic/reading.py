"""What a simulated sensor hands out, and what every one of them must know of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from mambats.series import Rigid
from mambats_datasets.synthetic.clock import Ticks, Timing
from mambats_datasets.synthetic.trajectory import Trajectory


@dataclass(frozen=True)
class Reading:
    """Measurements of B sensors of one kind.

    Args:
        ticks: When, by the true clock and by theirs, and which were lost.
        values: Shape (B, T, C), float64; measured or not.
        truth: What the sensor's errors were, by name, each (B, T, C'): `bias`.
        facts: What held throughout, by name, each (B,).
    """

    ticks: Ticks
    values: Tensor
    truth: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    facts: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])


class Sensor(Protocol):
    """A sensor of the simulator: a frozen dataclass of plain parameters, and `read`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def timing(self) -> Timing:
        """Rate and clock."""
        ...

    @property
    def channels(self) -> tuple[str, ...]:
        """One name a column."""
        ...

    @property
    def units(self) -> tuple[str, ...]:
        """One unit a column."""
        ...

    @property
    def mount(self) -> Rigid:
        """Pose of the sensor's frame in `base_link`."""
        ...

    @property
    def deviations(self) -> tuple[float, ...]:
        """Standard deviation of each channel's white noise in one sample; what a filter's R is made of."""
        ...

    def read(self, trajectory: Trajectory, generator: torch.Generator) -> Reading:
        """Measure B trajectories from 0 s to their duration; on a CPU, equal seeds give equal bits."""
        ...
