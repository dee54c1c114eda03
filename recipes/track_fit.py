"""What a detector is worth and how bodies move, from labelled sequences in KITTI's layout: numbers for a recipe.

    python recipes/track_fit.py $MAMBATS_DATA/fusion/kitti_tracking --class Car

Scores become log odds by logistic regression; the noise of boxes and of motion is what makes the innovations of a
filter over each labelled body's detections likeliest (Mehra 1970). Prints YAML for recipes/track/.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mambats.formats.kitti import read_detections, read_tracks
from mambats.track import BoxNoise, ConstantVelocity, Objects, ScoreCalibration
from mambats.track.heading import turned_to
from mambats.track.kitti import from_kitti
from mambats.track.overlap import iou_3d
from mambats_kernels.kalman import kalman_predict, kalman_update

#: Labels that are neither right nor wrong for a class: KITTI's neighbours of it.
NEUTRAL = {"Car": ("Van",), "Pedestrian": ("Person_sitting", "Person"), "Cyclist": ()}
LENGTH = 30  # frames of a piece of a body's path
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
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--write", type=Path, help="folder for CLASS_without_SEQUENCE.json")
    given = parser.parse_args()
    names = sorted(path.stem for path in (given.root / "label_02").glob("*.txt") if path.stem not in given.without)
    sequences = [labelled(given.root, given.kind, name) for name in names]
    calibration = calibrate(sequences)
    print(f"# {given.kind}: log odds = {calibration.slope:.3f} score {calibration.offset:+.3f}", flush=True)
    model = fit(paths(sequences, calibration), given.steps)
    said = json.dumps(numbers(calibration, model))
    print(said)
    if given.write is not None:
        given.write.mkdir(parents=True, exist_ok=True)
        (given.write / f"{given.kind}_without_{given.without or 'none'}.json").write_text(said)


if __name__ == "__main__":
    main()
