"""A filter over paths of detections whose association is known, with the noise of a model: what it is trained by."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.track.heading import turned_to
from mambats.track.learned.box import SIZE, box_features
from mambats.track.learned.model import InnovationNoise, Memory, Seen, Settings
from mambats.track.learned.paths import Paths
from mambats.track.learned.student import student_log_likelihood
from mambats_kernels.kalman import kalman_predict, kalman_update

STATES = 10
#: Taken from the log odds of a path's first detection, as the initiators of the recipes do.
DOUBT = 1.0


class Followed(NamedTuple):
    """What a filter said of paths (P, T).

    Args:
        nis: Of each innovation; with `log_likelihood` and `freedom` it stands where `innovation` is True.
        freedom: Degrees of freedom that were said.
        log_likelihood: Nats.
        innovation: Where a detection was compared with a prediction, bool.
        logit: Log odds that the body is there, right after each detection.
    """

    nis: Tensor
    freedom: Tensor
    log_likelihood: Tensor
    innovation: Tensor
    logit: Tensor


class _Now(NamedTuple):
    mean: Tensor
    covariance: Tensor
    memory: Memory
    existence: Tensor
    hits: Tensor


class _Given(NamedTuple):
    boxes: Tensor
    about: Tensor
    odds: Tensor
    there: Tensor


def follow(model: InnovationNoise, paths: Paths) -> Followed:
    """Run a filter of constant velocity along paths, one frame after another, all paths at once.

    Gradients reach the model's base and its encoder; a frame is 1 period of the model.

    Args:
        model: Sets noise, freedom and log odds.
        paths: Each begins with a detection.
    """
    seen, kind = paths.seen, paths.kind[:, None].expand_as(paths.truth)
    boxes = torch.where(seen[..., None], paths.boxes, paths.boxes[:, :1])
    odds = model.odds(paths.score, kind, boxes)
    about, settings = box_features(boxes, odds), model.settings(paths.kind)
    frames = [_Given(boxes[:, t], about[:, t], odds[:, t], seen[:, t]) for t in range(boxes.shape[1])]
    now = _begun(model, frames[0], settings)
    nothing = torch.zeros_like(now.existence)
    made: list[tuple[Tensor, ...]] = [(nothing, nothing + 10, nothing, now.existence + now.memory.said[:, -1])]
    for given in frames[1:]:
        now, told = _frame(model, now, given, settings)
        made.append(told)
    columns = [torch.stack(part, 1) for part in zip(*made, strict=True)]
    innovation = seen.clone()
    innovation[:, 0] = False
    return Followed(columns[0], columns[1], columns[2], innovation, columns[3])


def _begun(model: InnovationNoise, given: _Given, settings: Settings) -> _Now:
    boxes, about, odds, there = given
    memory, nothing = model.init_state(len(boxes)), torch.zeros_like(boxes)
    sensor = model.sensor(about, boxes[:, 6], settings, memory)
    speed = torch.diag_embed(settings.speed.square())
    covariance = torch.nn.functional.pad(sensor, (0, 3, 0, 3)) + torch.nn.functional.pad(speed, (7, 0, 7, 0))
    hits = there.long()
    seen = Seen(nothing, sensor.detach(), nothing[:, 0], boxes[:, 6], about, hits)
    memory = model.step(seen, 1.0, there, settings, memory)
    return _Now(torch.nn.functional.pad(boxes, (0, STATES - SIZE)), covariance, memory, odds - DOUBT, hits)


def _frame(model: InnovationNoise, now: _Now, given: _Given, settings: Settings) -> tuple[_Now, tuple[Tensor, ...]]:
    boxes, about, odds, there = given
    motion, added = model.transition(model.period), model.process(model.period, settings, now.memory)
    mean, covariance = kalman_predict(now.mean, now.covariance, motion, added)
    noise = model.sensor(about, boxes[:, 6], settings, now.memory)
    value = torch.cat([boxes[:, :6], turned_to(boxes[:, 6], mean[:, 6].detach())[:, None]], -1)
    shown = torch.eye(SIZE, STATES, dtype=mean.dtype, device=mean.device)
    made = kalman_update(mean, covariance, value, shown, noise, mask=there)
    # A Gaussian's log density holds the determinant, which Student's needs.
    log_det = -2 * made.log_likelihood - made.nis - SIZE * math.log(2 * math.pi)
    freedom = model.freedom(settings, now.memory)
    likelihood = student_log_likelihood(made.nis, log_det, freedom, SIZE)
    state = made.mean, made.covariance
    if len(far := torch.nonzero(there & (made.nis.detach() > model.surprise))[:, 0]):
        doubt = (made.nis[far].detach() / model.surprise)[:, None, None]
        again = kalman_update(mean[far], covariance[far] * doubt, value[far], shown, noise[far])
        state = state[0].index_copy(0, far, again.mean), state[1].index_copy(0, far, again.covariance)
    hits, existence = now.hits + there, _lasting(now.existence, odds, there, settings.rules, model.period)
    seen = Seen(made.residual.detach(), made.innovation.detach(), made.nis.detach(), boxes[:, 6], about, hits)
    memory = model.step(seen, 1.0, there, settings, now.memory)
    return _Now(*state, memory, existence, hits), (made.nis, freedom, likelihood, existence + memory.said[:, -1])


def _lasting(existence: Tensor, odds: Tensor, there: Tensor, rules: Tensor, period: float) -> Tensor:
    """As `Existence` has it, for known pairs, by the rule of each one's class (P, 4)."""
    seen, leaving, prior, most = rules.unbind(-1)
    stay = torch.logit(torch.sigmoid(existence) * (1 - leaving) ** period)
    return torch.clamp(stay + torch.where(there, odds - prior, torch.log1p(-seen)), -most, most)
