"""What a run leaves behind: states and innovations, moment by moment."""

from __future__ import annotations

import torch

from mambats.estimators.inertial.schedule import Schedule
from mambats.estimators.inertial.state import NavigationState, NavigationTrack
from mambats.protocols import Innovation


class Track:
    """Collects states and innovations of a run."""

    def __init__(self) -> None:
        self._states = list[NavigationState]()
        self._innovations = dict[str, dict[int, Innovation]]()

    def add(self, state: NavigationState) -> None:
        """Note the state behind a moment."""
        self._states.append(state)

    def note(self, stream: str, k: int, innovation: Innovation) -> None:
        """Note what a stream told at moment k."""
        self._innovations.setdefault(stream, {})[k] = innovation

    def close(self, schedule: Schedule, states: list[NavigationState] | None = None) -> NavigationTrack:
        """Return all of it, or other states with the same innovations.

        Moments at which a stream told nothing are filled with an innovation of zero.
        """
        if not self._states:
            raise ValueError("there is no moment in the window: give a stream of no channels to ask for states.")
        parts = NavigationState(*(torch.stack(part, 1) for part in zip(*(states or self._states), strict=True)))
        told = {name: _stack(made, len(self._states)) for name, made in self._innovations.items()}
        return NavigationTrack(schedule.stamps, schedule.mask, *parts[:6], told)


def _stack(made: dict[int, Innovation], length: int) -> Innovation:
    some = next(iter(made.values()))
    eye = torch.eye(some.residual.shape[-1]).to(some.residual).expand_as(some.covariance)
    none = Innovation(*(torch.zeros_like(part) for part in some))._replace(covariance=eye)
    rows = [made.get(k, none) for k in range(length)]
    return Innovation(*(torch.stack(part, 1) for part in zip(*rows, strict=True)))
