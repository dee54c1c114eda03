"""What a camera's boxes are worth beside LiDAR's, and how wide bodies look in it: a part of recipes/track_fit.py."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mambats.formats.kitti import read_detections_2d
from mambats.track import Objects, Picture, Silhouette
from mambats.track.behind import NEUTRAL, TRUE, UNKNOWN, Behind, unlabelled
from mambats.track.camera import partners
from mambats.track.kitti import from_kitti
from mambats.track.overlap import iou_2d
from mambats.track.projection import outlined, project

PAIR = 0.4  # overlap in the picture of a detection and the camera's box of it: `least` of `CameraEvidence`


class Looks(NamedTuple):
    """What is known of a sequence in the picture.

    Args:
        found: Detections in space of one class.
        labels: Of all classes.
        behind: Which label is behind each detection.
        camera: The camera's detections of the class; None where it has none.
        picture: What it draws.
    """

    found: Objects
    labels: Objects
    behind: Behind
    camera: Objects | None
    picture: Picture


def look(root: Path, kind: str, sequence: str, found: Objects) -> Objects | None:
    """Return the camera's detections of a class; None where it has none."""
    path = root / "det2d_rrc" / kind / f"{sequence}.txt"
    if not path.is_file():
        return None
    camera = from_kitti(read_detections_2d({kind: path}, len(found))).of_class(kind)
    return camera if len(camera.boxes) else None


def outline(sequences: list[Looks], kind: str) -> Silhouette:
    """Return how wide labelled bodies are in the picture beside their own cuboids; those at its rims are left out.

    Detections are not asked: how much too large or small a detector draws a cuboid is its own affair.
    """
    drawn, seen = list[Tensor](), list[Tensor]()
    for one in sequences:
        assert one.labels.pixels is not None
        own = torch.tensor([name == kind for name in one.labels.classes])[one.labels.labels]
        boxes, pixels = project(one.labels.boxes[own], one.picture), one.labels.pixels[own]
        most = one.picture.size[0] - 2
        whole = (boxes[:, 0] > 1) & (boxes[:, 2] < most) & (pixels[:, 0] > 1) & (pixels[:, 2] < most)
        drawn.append(boxes[whole])
        seen.append(pixels[whole])
    return Silhouette.fitted(torch.cat(drawn), torch.cat(seen))


def logistic(features: Tensor, true: Tensor) -> Tensor:
    """Return the weights (k,) of a logistic regression on features (N, k), by Newton's method."""
    weights = features.new_zeros(features.shape[1])
    ridge = 1e-3 * torch.eye(len(weights), dtype=features.dtype)  # classes may be separable
    for _ in range(50):
        chance = torch.sigmoid(features @ weights)
        slope = features.T @ (true.to(features) - chance) - ridge @ weights
        curve = (features * (chance * (1 - chance))[:, None]).T @ features + ridge
        weights = weights + torch.linalg.solve(curve, slope)
    return weights


class Seen(NamedTuple):
    """What the camera saw of a sequence, beside the detections in space and the labels.

    Args:
        features: Of each detection that says something: score, 1, whether the camera has it, its score there, (N, 4).
        true: Whether a body was there, (N,) bool.
        alone: Scores of the camera's boxes that nothing in space belongs to, (A,).
        real: Whether each is a body's, (A,) bool.
        edges: Of boxes on bodies: how far off, in pixels, from the projected label, (E, 4).
        height: Of these boxes, pixels, (E,).
    """

    features: Tensor
    true: Tensor
    alone: Tensor
    real: Tensor
    edges: Tensor
    height: Tensor


def pictured(one: Looks, kind: str, silhouette: Silhouette) -> Seen | None:
    """Return what the camera saw of a sequence; None where it has no box of the class."""
    camera, picture = one.camera, one.picture._replace(silhouette=silhouette)
    found = outlined(one.found, picture)
    if camera is None or found.pixels is None or found.score is None or camera.score is None or camera.pixels is None:
        return None
    other = partners(found.pixels, camera.pixels, (found.splits, camera.splits), PAIR)
    has, taken = other >= 0, other.clamp_min(0)
    features = torch.stack([found.score, torch.ones_like(found.score), has.double(), has * camera.score[taken]], -1)
    free = torch.ones(len(camera.score), dtype=torch.bool).index_fill(0, other[has], False)
    body, says = bodies_of(camera, one.labels, kind)
    own = body >= 0
    edges = camera.pixels[own] - project(one.labels.boxes[body[own]], picture)
    height, fine = (camera.pixels[:, 3] - camera.pixels[:, 1])[own], edges.isfinite().all(-1)
    says &= free
    known, true = one.behind.truth != UNKNOWN, one.behind.truth == TRUE
    return Seen(features[known], true[known], camera.score[says], own[says], edges[fine], height[fine])


def bodies_of(camera: Objects, truth: Objects, kind: str) -> tuple[Tensor, Tensor]:
    """Return the label behind each of the camera's boxes, -1 for none, and whether it says anything, both (N,)."""
    names = np.array(truth.classes)[truth.labels.numpy()]
    others = np.isin(names, ["DontCare", *NEUTRAL.get(kind, ())])
    body, says = torch.full((len(camera.boxes),), -1), torch.ones(len(camera.boxes), dtype=torch.bool)
    for f in range(min(len(camera), len(truth))):
        mine = np.arange(int(camera.splits[f]), int(camera.splits[f + 1]))
        rows = np.arange(int(truth.splits[f]), int(truth.splits[f + 1]))
        own = rows[names[rows] == kind]
        says[mine] = ~torch.from_numpy(unlabelled(camera, truth, mine, rows[others[rows]]))
        if len(mine) and len(own):
            overlap, best = iou_2d(camera.pixels[mine], truth.pixels[own]).max(-1)
            body[mine] = torch.where(overlap >= 0.5, torch.from_numpy(own)[best], -1)
    return body, says | (body >= 0)


def evidence(seen: list[Seen]) -> dict[str, object]:
    """Return the numbers of `CameraEvidence` and `PictureUpdater`."""
    features, true = torch.cat([one.features for one in seen]), torch.cat([one.true for one in seen])
    apart, joint = logistic(features[:, :2], true), logistic(features, true)
    score, real = torch.cat([one.alone for one in seen]), torch.cat([one.real for one in seen])
    alone = logistic(torch.stack([score, torch.ones_like(score)], -1), real)
    height = torch.cat([one.height for one in seen]).clamp_min(1.0).log()
    rows, off = torch.stack([torch.ones_like(height), height], -1), torch.cat([one.edges for one in seen]).abs()
    # The mean of log |e| lies 0.635 below log of the standard deviation of a Gaussian e: far ones weigh little.
    edges = torch.linalg.lstsq(rows, off.clamp_min(0.05).log()).solution + torch.tensor([[0.635], [0.0]]).double()
    own, unseen, there, slope = (joint - torch.nn.functional.pad(apart, (0, 2))).tolist()
    return {
        "own": round(own, 3), "seen": round(unseen + there, 3), "slope": round(slope, 3), "unseen": round(unseen, 3),
        "alone": [round(one, 3) for one in alone.tolist()], "edges": torch.round(edges.T, decimals=3).tolist(),
    }  # fmt: skip
