"""Occupancy from boxes whose places are known only so well."""

from __future__ import annotations

import torch
from torch import Tensor

from mambats.decisions.grid import LIMIT, Cells, Occupancy
from mambats.decisions.region import region_probability
from mambats.gaussian import Gaussian


def grid_from_boxes(
    centre: Gaussian,
    size: Tensor,
    yaw: Tensor,
    cells: Cells,
    *,
    existence: Tensor | None = None,
    prior: Occupancy | None = None,
    nodes: int = 12,
) -> Occupancy:
    """Return how likely the middle of each cell lies in any of the boxes, or is occupied already.

    Boxes are taken as independent of one another. Where no box may be, the prior holds.

    Args:
        centre: Of K boxes in the robot's frame; mean (B, K, 2), covariance (B, K, 2, 2), metres.
        size: Length and width, shape (B, K, 2), metres.
        yaw: Heading, counter-clockwise from x, shape (B, K), rad.
        cells: Of the grid.
        existence: Probability that a box is there at all, shape (B, K); 0 leaves it out, None is 1.
        prior: What is known without them, such as of `grid_from_rays`; None says unknown everywhere.
        nodes: Of the integral across each box (12: exact to 1e-3 beside sharp edges, measured against sampling).

    Raises:
        ValueError: If shapes disagree or a number of a box that exists is not finite.
    """
    there = torch.ones_like(yaw) if existence is None else existence
    _check(centre, size, yaw, there)
    places = cells.centres(yaw).flatten(0, 1)
    odds = yaw.new_zeros(len(yaw), *cells.shape) if prior is None else prior.log_odds
    clear = torch.zeros_like(odds)
    for k in range(yaw.shape[1]):  # one at a time: K boxes by X * Y cells by nodes would not fit for crowds
        if not there[:, k].any():
            continue
        inside = _inside(Gaussian(centre.mean[:, k], centre.covariance[:, k]), size[:, k], yaw[:, k], places, nodes)
        clear = clear + torch.log1p(-(there[:, k, None] * inside).clamp(0, 1 - 1e-6)).view_as(clear)
    # p = 1 - (1 - p0) exp(clear), as log-odds: log(p) - log(1 - p)
    empty = torch.nn.functional.logsigmoid(-odds) + clear
    made = torch.log(-torch.expm1(empty.clamp_max(-1e-7))) - empty
    return Occupancy(torch.where(clear < -1e-6, made, odds).clamp(-LIMIT, LIMIT))


def _inside(centre: Gaussian, size: Tensor, yaw: Tensor, places: Tensor, nodes: int) -> Tensor:
    """Return the probability (B, P) that each place (P, 2) lies in the box of its row."""
    cos, sin = yaw.cos(), yaw.sin()
    into = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)], -2)
    offset = (places - centre.mean[:, None]) @ into.mT
    covariance = (into @ centre.covariance @ into.mT)[:, None].expand(-1, len(places), -1, -1)
    length, width = (0.5 * size[:, None]).expand(-1, len(places), -1).unbind(-1)

    def edges(across: Tensor) -> tuple[Tensor, Tensor]:
        end = length[..., None].expand_as(across)
        return -end, end

    return region_probability(offset, covariance, width, edges, nodes)


def _check(centre: Gaussian, size: Tensor, yaw: Tensor, existence: Tensor) -> None:
    """Refuse shapes that disagree and numbers that are not finite."""
    if yaw.ndim != 2:
        raise ValueError(f"yaw has shape {tuple(yaw.shape)}: need (B, K).")
    needed = {"centre.mean": (2,), "centre.covariance": (2, 2), "size": (2,), "existence": ()}
    given = (centre.mean, centre.covariance, size, existence)
    for (name, axes), value in zip(needed.items(), given, strict=True):
        if value.shape != (*yaw.shape, *axes):
            raise ValueError(f"{name} has shape {tuple(value.shape)}: need {(*yaw.shape, *axes)} beside yaw (B, K).")
        if not torch.isfinite(value).all():
            raise ValueError(f"{name} holds a number that is not finite: set existence 0 and finite numbers instead.")
    if not torch.isfinite(yaw).all() or (size < 0).any() or (existence < 0).any() or (existence > 1).any():
        raise ValueError("yaw must be finite, sizes at least 0, existence 0 to 1: check the boxes.")
