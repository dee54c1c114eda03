"""What a detector is worth and how bodies move, from labelled sequences in KITTI's layout: numbers for a recipe.

    python recipes/track_fit.py $MAMBATS_DATA/fusion/kitti_tracking --class Car

Scores become log odds by logistic regression, by range, too, where the recipe has a range term; the noise of boxes and
of motion is what makes the innovations of a filter over each labelled body's detections likeliest (Mehra 1970). What
the camera's boxes add is the difference of two logistic regressions, with them and without; a silhouette is how wide
labels are in the picture beside their cuboids, and is used where the recipe has one. Prints the numbers of
recipes/track/ as JSON; a file that `--write` finds keeps the part that is not fitted (`--part noise` or `--part
camera`).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from track_looks import Looks, evidence, look, outline, pictured

from mambats.formats.kitti import read_calibration, read_detections, read_tracks
from mambats.track import BoxNoise, ConstantVelocity, Objects, Picture, ScoreCalibration, Silhouette
from mambats.track.behind import TRUE, UNKNOWN, Behind, behind
from mambats.track.heading import turned_to
from mambats.track.kitti import from_kitti
from mambats.track.recipe import read_recipe
from mambats_kernels.kalman import kalman_predict, kalman_update

LENGTH = 30  # frames of a piece of a body's path
OUTLIER = 30.0  # normalised innovation squared of seven numbers beyond which a pair is no pair


class Labelled(NamedTuple):
    """Detections of a sequence beside its labels.

    Args:
        detections: Of one class.
        labels: Of all classes, row by row.
        behind: Which label is behind each detection.
    """

    detections: Objects
    labels: Objects
    behind: Behind

    @property
    def body(self) -> Tensor:
        """Identity of the label of the class behind each, -1 where there is none, shape (N,)."""
        assert self.labels.identity is not None
        own, at = self.behind.truth == TRUE, self.behind.label.clamp_min(0)
        return torch.where(own, self.labels.identity[at], -1) if len(self.labels.boxes) else self.behind.label


def labelled(root: Path, kind: str, sequence: str) -> Labelled:
    """Return the detections of a sequence with the labels behind them."""
    found = from_kitti(read_detections(root / "det3d_pointrcnn" / kind / f"{sequence}.txt")).of_class(kind)
    truth = from_kitti(read_tracks(root / "label_02" / f"{sequence}.txt"))
    return Labelled(found, truth, behind(found, truth, kind))


def calibrate(sequences: list[Labelled], *, ranged: bool) -> ScoreCalibration:
    """Return the log odds of scores, by range, too, where `ranged`."""
    says = [one.behind.truth != UNKNOWN for one in sequences]
    score = torch.cat([one.detections.score[says] for one, says in zip(sequences, says, strict=True)])
    true = torch.cat([one.behind.truth[says] == TRUE for one, says in zip(sequences, says, strict=True)])
    boxes = torch.cat([one.detections.boxes[says] for one, says in zip(sequences, says, strict=True)])
    return ScoreCalibration.fitted(score, true, boxes=boxes if ranged else None)


class Paths(NamedTuple):
    """Pieces of bodies' paths: boxes (P, T, 7), NaN where not detected, and log odds (P, T)."""

    boxes: Tensor
    odds: Tensor


def paths(sequences: list[Labelled], calibration: ScoreCalibration) -> Paths:
    """Return what was detected of every body, in pieces that begin with a detection."""
    boxes, odds = list[Tensor](), list[Tensor]()
    for one in sequences:
        found, bodies = one.detections, one.body
        frames, score = found.frames, calibration(found.score, found.boxes)
        for body in bodies.unique().tolist():
            rows = torch.nonzero(bodies == body)[:, 0]
            while body >= 0 and len(rows) > 1:
                at = frames[rows] - frames[rows[0]]
                here = rows[at < LENGTH]
                piece, sure = torch.full((LENGTH, 7), torch.nan).double(), torch.zeros(LENGTH).double()
                piece[at[at < LENGTH]], sure[at[at < LENGTH]] = found.boxes[here], score[here]
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
        "slope": round(calibration.slope, 4), "offset": round(calibration.offset, 4),
        "range": round(calibration.range, 4), "weights": listed(weights),
        "acceleration": listed(drive[0].exp()), "walk": listed(drive[1].exp()), "speed": listed(model.speed.exp()),
    }  # fmt: skip


def looks_of(root: Path, kind: str, name: str, given: Labelled) -> Looks:
    """Return what is known of a sequence in the picture."""
    camera = torch.from_numpy(read_calibration(root / "calib" / f"{name}.txt").projection(2))
    picture = Picture.of(given.detections, camera)
    return Looks(given.detections, given.labels, given.behind, look(root, kind, name, given.detections), picture)


def seen(looks: list[Looks], kind: str, *, wide: bool) -> dict[str, object]:
    """Return the numbers of the silhouette and of the camera; `wide` says whether the recipe draws silhouettes."""
    silhouette = outline(looks, kind)
    said: dict[str, object] = {"silhouette": [round(silhouette.across, 3), round(silhouette.upright, 3)]}
    every = [pictured(one, kind, silhouette if wide else Silhouette()) for one in looks]
    known = [one for one in every if one is not None]
    return said | {"camera": evidence(known)} if known else said


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
    looks = {} if given.part == "noise" else {n: looks_of(given.root, given.kind, n, one) for n, one in known.items()}
    recipe = read_recipe(Path(__file__).parent / "track" / f"kitti_{given.kind.lower()}.yaml")
    wide, ranged = recipe.silhouette is not None, recipe.tracker.detector.calibration.range != 0
    for left in names if given.each else [given.without]:
        path = None if given.write is None else given.write / f"{given.kind}_without_{left or 'none'}.json"
        said = json.loads(path.read_text()) if path is not None and path.is_file() else {}
        kept = [one for name, one in known.items() if name != left]
        if given.part != "camera":
            calibration = calibrate(kept, ranged=ranged)
            print(f"# {given.kind}: log odds = {calibration.slope:.3f} score {calibration.offset:+.3f} "
                  f"{calibration.range:+.4f} range/10 m", flush=True)  # fmt: skip
            said |= numbers(calibration, fit(paths(kept, calibration), given.steps))
        if given.part != "noise":
            said |= seen([one for name, one in looks.items() if name != left], given.kind, wide=wide)
        print(json.dumps(said), flush=True)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(said))


if __name__ == "__main__":
    main()
