"""Fit the noise of a filter, constant or learned, to outages made on a training drive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mambats.odometry.ins.drive import Drive
from mambats.odometry.ins.outage import Runner, forecast, join

#: Seconds of a training window: with fixes, and without.
WITH, WITHOUT = 10, 30
_MOST = 30.0  # nats a fix: what one window that is lost may weigh


def loss(
    model: Runner,
    drive: Drive,
    states: list[Any],
    starts: Tensor,
    rolling_ns: int,
    fix: float,
    seconds: tuple[int, int] = (WITH, WITHOUT),
) -> Tensor:
    """Return minus the mean log likelihood of fixes, nats: of those given and those withheld.

    Args:
        model: The filter.
        drive: With fixes.
        states: Where windows start, by number of the fix less one.
        starts: Numbers of fixes, shape (B,).
        rolling_ns: Period of the non-holonomic constraint.
        fix: Standard deviation of a fix, m.
        seconds: Of a window with fixes, and after them without.
    """
    length = sum(seconds) * 10**9
    given = torch.arange(len(drive.fixes), device=starts.device) <= starts[:, None] + seconds[0]
    begin = drive.fix_clock[starts]
    rows = drive.window(begin, length, given, rolling_ns)
    track, _ = model.run(rows, length, join([states[k - 1] for k in starts.tolist()]))
    ask = rows["ask"]
    place = torch.searchsorted(drive.fix_clock, begin[:, None] + ask.stamps).clamp_max(len(drive.fixes) - 1)
    blind = ask.mask & ~given.gather(1, place)
    position = forecast(track, ask.stamps)
    wide = position.covariance + fix**2 * torch.eye(3, dtype=position.mean.dtype, device=starts.device)
    costs = type(position)(position.mean, wide).nll(drive.fixes[place])
    costs = torch.where(costs > _MOST, _MOST + torch.log1p((costs - _MOST).clamp_min(0)), costs)
    told = track.innovations["gnss"]
    # All that were measured count, let in or not: else noise learns to shut fixes out.
    there = told.nis > 0
    surprise = (-told.log_likelihood).clamp_max(_MOST)
    return (costs * blind).sum() / blind.sum() + (surprise * there).sum() / there.sum()


def fit(
    parameters: list[nn.Parameter],
    cost: Callable[[Tensor], Tensor],
    starts: Tensor,
    steps: int,
    rate: float,
    batch: int,
    seed: int,
) -> list[float]:
    """Lower a cost over windows drawn at random; return its course.

    Args:
        parameters: To move.
        cost: Of windows by their starts.
        starts: To draw from, shape (S,).
        steps: Of Adam.
        rate: Of learning; it falls to a tenth along half a cosine.
        batch: Windows a step.
        seed: Of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    adam = torch.optim.Adam(parameters, rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps, rate / 10)
    course = list[float]()
    for _ in range(steps):
        adam.zero_grad()
        drawn = torch.randperm(len(starts), generator=generator)[:batch]
        value = cost(starts[drawn.to(starts.device)])
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        adam.step()
        schedule.step()
        course.append(float(value.detach()))
    return course
