"""Tune the constant noise of a filter to outages made on a training drive; validation says where to stop."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mambats.estimators import InertialFilter
from mambats.odometry.ins.drive import Drive
from mambats.odometry.ins.outage import Blackout, Runner, began, follow, outages

#: Fixes that a filter is followed over before the first outage of validation.
_LEAD = 20


def cost(model: Runner, drive: Drive, states: Mapping[int, Any], starts: Tensor, blackout: Blackout) -> Tensor:
    """Return what training lowers: how surprised a filter is by the fixes withheld, nats a fix.

    Args:
        model: The filter.
        drive: With fixes.
        states: Where windows start, by number of the fix.
        starts: Numbers of fixes, shape (B,).
        blackout: How fixes are withheld.
    """
    made = outages(model, drive, states, starts, blackout.lost, blackout.rolling_ns, blackout.given)
    return made.surprise(blackout.fix)


@torch.no_grad()
def judge(model: Runner, drive: Drive, states: Mapping[int, Any], starts: Tensor, blackout: Blackout) -> Tensor:
    """Return the same of outages made as a test makes them: the filter is followed along the drive first.

    Args:
        model: The filter.
        drive: With fixes.
        states: Of this model, behind fixes 20 before the first of `starts`.
        starts: Numbers of the fixes after which there are none, rising, shape (W,).
        blackout: How fixes are withheld.
    """
    first = max(1, int(starts[0]) - _LEAD)
    mine = follow(model, drive, states[first], blackout.rolling_ns, int(starts[-1]), first)
    return outages(model, drive, mine, starts, blackout.lost, blackout.rolling_ns).surprise(blackout.fix)


class Course(NamedTuple):
    """How tuning went: the cost at each step, and on validation before each `every`-th one and at the end."""

    train: list[float]
    val: list[float]
    best: int  #: step that was kept


def tune(
    model: InertialFilter,
    drive: Drive,
    starts: tuple[Tensor, Tensor],
    blackout: Blackout,
    steps: int,
    rate: float = 0.05,
    batch: int = 24,
    every: int = 5,
    seed: int = 0,
) -> Course:
    """Move the noise of process and constraint, and leave the model at the step that is best on validation.

    The noise of fixes stays as given: they come smoothed, and fitted to 0.01 m the filter believed them too much.

    Args:
        model: Changed in place.
        drive: With fixes.
        starts: Of training and validation.
        blackout: How fixes are withheld.
        steps: Of Adam; step 0 is the model as given.
        rate: Of learning.
        batch: Windows a step.
        every: Steps between validations.
        seed: Of the draws.
    """
    train, val = starts
    generator = torch.Generator().manual_seed(seed)
    moved = [p for name, part in model.noises.items() if name != "gnss" for p in part.parameters()]
    frozen = [p.requires_grad for p in moved]
    for one in moved:
        one.requires_grad_(True)
    adam, course = torch.optim.Adam(moved, rate), Course([], [], 0)
    best, kept, states = float("inf"), copy.deepcopy(model.state_dict()), dict[int, Any]()
    for step in range(steps + 1):
        if step % every == 0 or step == steps:
            with torch.no_grad():
                states = follow(model, drive, began(model, drive), blackout.rolling_ns, int(val[-1]))
            course.val.append(float(judge(model, drive, states, val, blackout)))
            if course.val[-1] < best:
                best, kept = course.val[-1], copy.deepcopy(model.state_dict())
                course = course._replace(best=step)
        if step < steps:
            drawn = train[torch.randperm(len(train), generator=generator)[:batch].to(train.device)]
            adam.zero_grad()
            value = cost(model, drive, states, drawn, blackout)
            value.backward()
            nn.utils.clip_grad_norm_(moved, 1.0)
            adam.step()
            course.train.append(float(value.detach()))
    model.load_state_dict(kept)
    for one, was in zip(moved, frozen, strict=True):
        one.requires_grad_(was)
    return course
