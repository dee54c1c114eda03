"""What a detector is worth and how bodies move, from labelled sequences in KITTI's layout: numbers for a recipe.

    python recipes/track_fit.py $MAMBATS_DATA/fusion/kitti_tracking --class Car

Scores become log odds by logistic regression; the noise of boxes and of motion is what makes the innovations of a
filter over each labelled body's detections likeliest (Mehra 1970). What the camera's boxes add is the difference of two
logistic regressions, with them and without. Prints the numbers of recipes/track/ as JSON; a file that `--write` finds
keeps the part that is not fitted (`--part noise` or `--part camera`).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mambats.formats.kitti import read_calibration, read_detections, read_detections_2d, read_tracks
from mambats.track import BoxNoise, ConstantVelocity, Objects, ScoreCalibration
from mambats.track.camera import partners
from mambats.track.heading import turned_to
from mambats.track.kitti import from_kitti
from mambats.track.overlap import iou_2d, iou_3d
from mambats.track.projection import picture_of, project
from mambats_kernels.kalman import kalman_predict, kalman_update

#: Labels that are neither right nor wrong for a class: KITTI's neighbours of it.
NEUTRAL = {"Car": ("Van",), "Pedestrian": ("Person_sitting", "Person"), "Cyclist": ()}
LENGTH = 30  # frames of a piece of a body's path
PAIR = 0.4  # overlap in the picture of a detection and the camera's box of it: `least` of `CameraEvidence`
OUTLIER = 30.0  # normalised innovation squared of seven numbers beyond which a pair is no pair


class Labelled(NamedTuple):
    """Detections of a sequence beside its labels.

    Args:
        detections: Of one class.
        body: Identity of the label behind each, -1 where there is none, shape (N,).
        neutral: Which say nothing, shape (N,) bool.
    """

    detections: Objects
    body: Tensor
    neutral: Tensor


def labelled(root: Path, kind: str, sequence: str) -> Labelled:
    """Return the detections of a sequence with the labels behind them."""
    from scipy.optimize import linear_sum_assignment

    found = from_kitti(read_detections(root / "det3d_pointrcnn" / kind / f"{sequence}.txt")).of_class(kind)
    truth = from_kitti(read_tracks(root / "label_02" / f"{sequence}.txt"))
    names, count = np.array(truth.classes)[truth.labels.numpy()], len(found.boxes)
    body, neutral = torch.full((count,), -1), torch.zeros(count, dtype=torch.bool)
    assert truth.identity is not None
    for f in range(min(len(found), len(truth))):
        mine = np.arange(int(found.splits[f]), int(found.splits[f + 1]))
        rows = np.arange(int(truth.splits[f]), int(truth.splits[f + 1]))
        ignored = rows[names[rows] == "DontCare"]
        neutral[mine] = _inside(found, truth, mine, ignored)
        rows = rows[np.isin(names[rows], [kind, *NEUTRAL[kind]])]
        overlap = iou_3d(found.boxes[mine], truth.boxes[rows]).numpy()
        for i, j in zip(*linear_sum_assignment(-overlap), strict=True):
            if overlap[i, j] > 0.1:
                own = names[rows[j]] == kind
                neutral[mine[i]] = not own
                body[mine[i]] = truth.identity[rows[j]] if own else -1
    return Labelled(found, body, neutral)


def _inside(found: Objects, truth: Objects, mine: np.ndarray, ignored: np.ndarray) -> Tensor:
    """Which detections lie by half or more in a region that nobody labelled."""
    assert found.pixels is not None and truth.pixels is not None
    a, b = found.pixels[mine][:, None], truth.pixels[ignored][None]
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp_min(0).prod(-1)
    return (shared / (a[..., 2:] - a[..., :2]).prod(-1) > 0.5).any(-1)


def calibrate(sequences: list[Labelled]) -> ScoreCalibration:
    """Return the log odds of scores."""
    score = torch.cat([one.detections.score[~one.neutral] for one in sequences])
    true = torch.cat([(one.body >= 0)[~one.neutral] for one in sequences])
    return ScoreCalibration.fitted(score, true)


class Paths(NamedTuple):
    """Pieces of bodies' paths: boxes (P, T, 7), NaN where not detected, and log odds (P, T)."""

    boxes: Tensor
    odds: Tensor


def paths(sequences: list[Labelled], calibration: ScoreCalibration) -> Paths:
    """Return what was detected of every body, in pieces that begin with a detection."""
    boxes, odds = list[Tensor](), list[Tensor]()
    for one in sequences:
        frames, score = one.detections.frames, calibration(one.detections.score)
        for body in one.body.unique().tolist():
            rows = torch.nonzero(one.body == body)[:, 0]
            while body >= 0 and len(rows) > 1:
                at = frames[rows] - frames[rows[0]]
                here = rows[at < LENGTH]
                piece, sure = torch.full((LENGTH, 7), torch.nan).double(), torch.zeros(LENGTH).double()
                piece[at[at < LENGTH]], sure[at[at < LENGTH]] = one.detections.boxes[here], score[here]
                boxes.append(piece)
                odds.append(sure)
                rows = rows[at >= LENGTH]
    return Paths(torch.stack(boxes), torch.stack(odds))


class Model(torch.nn.Module):
    """Noise of boxes, of motion, and of the start, as numbers to fit."""

    def __init__(self, weights: Tensor, speed: float) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(weights.clone())
        self.motion = ConstantVelocity([3.0, 3.0, 0.5], [0.1, 0.05, 0.05, 0.1]).double()
        self.speed = torch.nn.Parameter(torch.tensor([speed, speed, 1.0]).double().log())

    def covariance(self, boxes: Tensor, odds: Tensor) -> Tensor:
        """As `BoxNoise` makes it, with gradients."""
        from mambats.track.detector import turns

        made = torch.diag_embed((BoxNoise.features(boxes, odds) @ self.weights.T).exp().square())
        turn = torch.eye(7).double().repeat(len(boxes), 1, 1)
        turn[:, :2, :2] = turns(boxes[:, 6])
        return turn @ made @ turn.mT

    def likelihood(self, given: Paths) -> tuple[Tensor, Tensor]:
        """Return minus the mean log likelihood of a detection, and the NIS of all."""
        boxes, count = given.boxes, len(given.boxes)
        mean = torch.cat([boxes[:, 0], boxes.new_zeros(count, 3)], -1)
        start = torch.diag_embed((2 * self.speed).exp().expand(count, 3))
        covariance = torch.nn.functional.pad(start, (7, 0, 7, 0))
        covariance = covariance + torch.nn.functional.pad(self.covariance(boxes[:, 0], given.odds[:, 0]), (0, 3, 0, 3))
        time = boxes.new_full((1,), 0.1)
        matrix, noise, seen = (
            self.motion.jacobian(mean[:1], time)[0],
            self.motion.noise(time)[0],
            torch.eye(7, 10).double(),
        )
        total, nis = boxes.new_zeros(()), list[Tensor]()
        for t in range(1, boxes.shape[1]):
            mean, covariance = kalman_predict(mean, covariance, matrix, noise)
            there = ~boxes[:, t, 0].isnan()
            value = torch.where(there[:, None], boxes[:, t], mean[:, :7].detach())
            value = torch.cat([value[:, :6], turned_to(value[:, 6], mean[:, 6].detach())[:, None]], -1)
            own = self.covariance(value, given.odds[:, t])
            made = kalman_update(mean, covariance, value, seen, own, mask=there)
            good = there & (made.nis.detach() < OUTLIER)
            mean = torch.where(good[:, None], made.mean, mean)
            covariance = torch.where(good[:, None, None], made.covariance, covariance)
            total = total - torch.where(good, made.log_likelihood, 0.0).sum()
            nis.append(made.nis[there].detach())
        every = torch.cat(nis)
        return total / (every < OUTLIER).sum(), every


def fit(given: Paths, steps: int, rate: float = 0.05) -> Model:
    """Return the model of greatest likelihood."""
    first = torch.tensor([0.15, 0.08, 0.07, 0.2, 0.08, 0.08, 0.1]).double().log()
    model = Model(torch.stack([first, first * 0 + 0.3, first * 0 - 0.1], -1), 8.0)
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, 2 * (1 - step / steps))
        loss, nis = model.likelihood(given)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 10 == 0 or step == steps - 1:
            inside = ((nis > 1.69) & (nis < 16.01)).double().mean()
            print(
                f"# step {step}: {loss.item():.3f}, NIS/7 {nis[nis < OUTLIER].mean() / 7:.3f}, band {inside:.3f}",
                flush=True,
            )
    return model


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


def pictured(root: Path, kind: str, sequence: str, given: Labelled) -> Seen | None:
    """Return what the camera saw of a sequence; None where it has no box of the class."""
    found, path = given.detections, root / "det2d_rrc" / kind / f"{sequence}.txt"
    camera = from_kitti(read_detections_2d({kind: path}, len(found))).of_class(kind)
    truth = from_kitti(read_tracks(root / "label_02" / f"{sequence}.txt"))
    if not len(camera.boxes) or found.pixels is None or found.score is None or camera.score is None:
        return None
    other = partners(found.pixels, camera.pixels, (found.splits, camera.splits), PAIR)
    has, taken = other >= 0, other.clamp_min(0)
    features = torch.stack([found.score, torch.ones_like(found.score), has.double(), has * camera.score[taken]], -1)
    free = torch.ones(len(camera.score), dtype=torch.bool).index_fill(0, other[has], False)
    body, says = bodies_of(camera, truth, kind)
    own = body >= 0
    projection = torch.from_numpy(read_calibration(root / "calib" / f"{sequence}.txt").projection(2))
    drawn = project(truth.boxes[body[own]], projection, picture_of(found))
    edges, height = camera.pixels[own] - drawn, (camera.pixels[:, 3] - camera.pixels[:, 1])[own]
    fine = edges.isfinite().all(-1)
    says &= free
    return Seen(features[~given.neutral], (given.body >= 0)[~given.neutral], camera.score[says], own[says],
                edges[fine], height[fine])  # fmt: skip


def bodies_of(camera: Objects, truth: Objects, kind: str) -> tuple[Tensor, Tensor]:
    """Return the label behind each of the camera's boxes, -1 for none, and whether it says anything, both (N,)."""
    names = np.array(truth.classes)[truth.labels.numpy()]
    body, says = torch.full((len(camera.boxes),), -1), torch.ones(len(camera.boxes), dtype=torch.bool)
    for f in range(min(len(camera), len(truth))):
        mine = np.arange(int(camera.splits[f]), int(camera.splits[f + 1]))
        rows = np.arange(int(truth.splits[f]), int(truth.splits[f + 1]))
        own = rows[names[rows] == kind]
        says[mine] = ~_inside(camera, truth, mine, rows[np.isin(names[rows], ["DontCare", *NEUTRAL[kind]])])
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


def numbers(calibration: ScoreCalibration, model: Model) -> dict[str, object]:
    """Return what a recipe says."""

    def listed(values: Tensor) -> object:
        return torch.round(values.detach(), decimals=4).tolist()

    weights = model.weights
    motion = dict(model.motion.named_parameters())
    drive = [value for name, value in motion.items() if name.endswith("log_density")]
    return {
        "slope": round(calibration.slope, 4), "offset": round(calibration.offset, 4), "weights": listed(weights),
        "acceleration": listed(drive[0].exp()), "walk": listed(drive[1].exp()), "speed": listed(model.speed.exp()),
    }  # fmt: skip


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--class", dest="kind", default="Car")
    parser.add_argument("--without", default="", help="sequences left out, with commas between")
    parser.add_argument("--each", action="store_true", help="leave out one sequence after another")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--write", type=Path, help="folder for CLASS_without_SEQUENCE.json")
    parser.add_argument("--part", choices=("noise", "camera"), help="fit this alone")
    given = parser.parse_args()
    names = sorted(path.stem for path in (given.root / "label_02").glob("*.txt") if path.stem not in given.without)
    known = {name: labelled(given.root, given.kind, name) for name in names}
    camera = {}
    if given.part != "noise" and (given.root / "det2d_rrc" / given.kind).is_dir():
        camera = {name: pictured(given.root, given.kind, name, one) for name, one in known.items()}
    for left in names if given.each else [given.without]:
        path = None if given.write is None else given.write / f"{given.kind}_without_{left or 'none'}.json"
        said = json.loads(path.read_text()) if path is not None and path.is_file() else {}
        kept = [one for name, one in known.items() if name != left]
        if given.part != "camera":
            calibration = calibrate(kept)
            print(f"# {given.kind}: log odds = {calibration.slope:.3f} score {calibration.offset:+.3f}", flush=True)
            said |= numbers(calibration, fit(paths(kept, calibration), given.steps))
        if camera:
            said["camera"] = evidence([one for name, one in camera.items() if one is not None and name != left])
        print(json.dumps(said), flush=True)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(said))


if __name__ == "__main__":
    main()
