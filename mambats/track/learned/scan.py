"""A filter over paths of detections whose association is known, with the noise of a model: what it is trained by."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.track.heading import turned_to
from mambats.track.learned.box import SIZE
from mambats.track.learned.model import InnovationNoise, Memory, Seen
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
    deviation: Tensor
    odds: Tensor
    there: Tensor


def follow(model: InnovationNoise, paths: Paths) -> Followed:
    """Run a filter of constant velocity along paths, one frame after another, all paths at once.

    Gradients reach the model's base and its encoder; a frame is 1 period of the model.

    Args:
        model: Sets noise, freedom and log odds.
        paths: Each begins with a detection.
    """
    odds, seen = model.odds(paths.score, paths.kind[:, None].expand_as(paths.truth)), paths.seen
    boxes = torch.where(seen[..., None], paths.boxes, paths.boxes[:, :1])
    deviation = model.deviation(boxes, odds, paths.kind)
    now = _begun(model, boxes[:, 0], deviation[:, 0], odds[:, 0], paths.kind)
    nothing = torch.zeros_like(now.existence)
    made: list[tuple[Tensor, ...]] = [(nothing, nothing + 10, nothing, now.existence + now.memory.said[:, -1])]
    for t in range(1, boxes.shape[1]):
        now, told = _frame(model, now, _Given(boxes[:, t], deviation[:, t], odds[:, t], seen[:, t]), paths.kind)
        made.append(told)
    columns = [torch.stack(part, 1) for part in zip(*made, strict=True)]
    innovation = seen.clone()
    innovation[:, 0] = False
    return Followed(*columns[:3], innovation, columns[3])


def _begun(model: InnovationNoise, boxes: Tensor, deviation: Tensor, odds: Tensor, kind: Tensor) -> _Now:
    mean, memory = torch.nn.functional.pad(boxes, (0, STATES - SIZE)), model.init_state(len(boxes))
    sensor = model.sensor(deviation, boxes[:, 6], kind, memory)
    speed = torch.diag_embed((2 * model.base["speed"][kind]).exp())
    covariance = torch.nn.functional.pad(sensor, (0, 3, 0, 3)) + torch.nn.functional.pad(speed, (7, 0, 7, 0))
    hits, nothing = torch.ones_like(kind), torch.zeros_like(boxes)
    seen = Seen(nothing, sensor.detach(), nothing[:, 0], boxes, odds, hits, kind)
    return _Now(mean, covariance, model.step(seen, 1.0, hits > 0, memory), odds - DOUBT, hits)


def _frame(model: InnovationNoise, now: _Now, given: _Given, kind: Tensor) -> tuple[_Now, tuple[Tensor, ...]]:
    boxes, deviation, odds, there = given
    motion, added = model.transition(model.period), model.process(model.period, kind, now.memory)
    mean, covariance = kalman_predict(now.mean, now.covariance, motion, added)
    noise = model.sensor(deviation, boxes[:, 6], kind, now.memory)
    value = torch.cat([boxes[:, :6], turned_to(boxes[:, 6], mean[:, 6].detach())[:, None]], -1)
    shown = torch.eye(SIZE, STATES, dtype=mean.dtype, device=mean.device)
    made = kalman_update(mean, covariance, value, shown, noise, mask=there)
    # A Gaussian's log density holds the determinant, which Student's needs.
    log_det = -2 * made.log_likelihood - made.nis - SIZE * math.log(2 * math.pi)
    freedom = model.freedom(kind, now.memory)
    likelihood = student_log_likelihood(made.nis, log_det, freedom, SIZE)
    state = made.mean, made.covariance
    if len(far := torch.nonzero(there & (made.nis.detach() > model.surprise))[:, 0]):
        doubt = (made.nis[far].detach() / model.surprise)[:, None, None]
        again = kalman_update(mean[far], covariance[far] * doubt, value[far], shown, noise[far])
        state = state[0].index_copy(0, far, again.mean), state[1].index_copy(0, far, again.covariance)
    hits, existence = now.hits + there, _lasting(model, now.existence, odds, there)
    seen = Seen(made.residual.detach(), made.innovation.detach(), made.nis.detach(), boxes, odds, hits, kind)
    memory = model.step(seen, 1.0, there, now.memory)
    return _Now(*state, memory, existence, hits), (made.nis, freedom, likelihood, existence + memory.said[:, -1])


def _lasting(model: InnovationNoise, existence: Tensor, odds: Tensor, there: Tensor) -> Tensor:
    """As `Existence` has it, for known pairs."""
    rule = model.lasting
    stay = torch.logit(torch.sigmoid(existence) * (1 - rule.leaving) ** model.period)
    change = torch.where(there, odds - rule.prior, math.log1p(-rule.seen))
    return (stay + change).clamp(-rule.most, rule.most)
