"""Heat maps: what a centre head is trained towards, what it loses there, and the peaks of what it says."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mambats.track.centre.codes import BoxCode


def draw_heat(code: BoxCode, boxes: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Heat maps (B, K, ny, nx) of boxes: 1 in the cell of each middle, falling as a Gaussian around it.

    Its deviation is a quarter of the mean side and at least a cell.

    Args:
        code: With the grid.
        boxes: Shape (B, M, 7).
        labels: Shape (B, M) int64, -1 where there is none.
        classes: K.
    """
    if not boxes.shape[1]:
        return boxes.new_zeros(len(boxes), classes, *code.cells.shape[1::-1])
    cell, inside = code.cell(boxes)
    deviation = ((boxes[..., 3] * boxes[..., 4]).sqrt() / (4 * code.cells.size[0])).clamp_min(1.0)[..., None]
    columns, rows = (torch.arange(count, device=boxes.device) for count in code.cells.shape[:2])
    across = (-0.5 * ((columns - cell[..., :1]) / deviation).square()).exp()
    along = (-0.5 * ((rows - cell[..., 1:]) / deviation).square()).exp()
    spots = along[..., :, None] * across[..., None, :]  # (B, M, ny, nx)
    known = [inside & (labels == label) for label in range(classes)]
    return torch.stack([(spots * own[..., None, None]).amax(1) for own in known], 1)


def focal_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """Penalty-reduced focal loss of heat maps (B, K, ny, nx), for each box: a scalar.

    Source: H. Law, J. Deng, CornerNet, ECCV 2018, equation 1, with alpha = 2 and beta = 4.
    """
    chance = torch.sigmoid(logits)
    here = heat >= 1
    hit = (1 - chance).square() * F.logsigmoid(logits)
    rest = (1 - heat).pow(4) * chance.square() * F.logsigmoid(-logits)
    return -torch.where(here, hit, rest).sum() / here.sum().clamp_min(1)


def peaks(logits: Tensor, count: int, window: int) -> tuple[Tensor, Tensor, Tensor]:
    """Highest cells of maps (B, K, ny, nx) that are the highest within `window` cells.

    Returns:
        Scores (B, D) 0 to 1, the highest first, labels (B, D) and cells (B, D, 2) as column and row. A cell that is no
        peak has score 0.
    """
    heat = torch.sigmoid(logits)
    top = F.max_pool2d(heat, window, stride=1, padding=window // 2)
    kept = heat * (heat == top)
    rows, columns = kept.shape[2:]
    score, index = kept.flatten(1).topk(min(count, kept[0].numel()), dim=1)
    place = index % (rows * columns)
    return score, index // (rows * columns), torch.stack([place % columns, place // columns], -1)
