"""Looks in the tracker: identity switches in a simulated crowd, by place alone and with looks, raw and learned.

    python recipes/track_identity.py --seeds 0 1 2

Bodies cross close to each other at one frame a second and change their ways, so that places alone mix them up. How
they look is learned by contrast on scenes of their own, turned into log odds on others, and added to the Mahalanobis
cost on the held-out ones. Online. Half a minute of a free core.
"""

from __future__ import annotations

import argparse
import math
import statistics
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mambats.track import (
    BoxNoise,
    ByExistence,
    ConstantVelocity,
    Deleter,
    Detector,
    Existence,
    Hungarian,
    Initiator,
    Mahalanobis,
    Objects,
    Predictor,
    ScoreCalibration,
    SinglePass,
    Tracker,
    Updater,
    tell,
)
from mambats.track.affinity import Affinity
from mambats.track.identity import IdentityAffinity, IdentityEmbedder, contrastive_loss
from mambats.track.metrics import HOTA, IDF1, ClearMOT, PlainRule
from mambats_datasets.synthetic.crossing import CrossingWorlds, StatedDetector, Straight, appearance
from mambats_datasets.synthetic.crossing.appearance import FEATURES

KIND = "pedestrian"
EVERY = 10_000  # more than there are bodies in a scene
BODIES = 64  # of a training step
SHOWN = ("HOTA", "AssA", "MOTA", "IDF1", "IDSW")
SPREAD = (0.08, 0.08, 0.06, 0.08, 0.06, 0.06, 0.30)  # of the simulator's detector, for pedestrians


class Seen(NamedTuple):
    """A scene: labels, detections, how these look, and the bodies behind them."""

    truth: Objects
    found: Objects
    features: Tensor
    body: Tensor


class Raw(nn.Module):
    """Features as they are: what learning must beat."""

    def forward(self, features: Tensor) -> Tensor:
        """Return them, centred on nothing, of length 1."""
        return nn.functional.normalize(features, dim=-1)


def drawn(count: int, seed: int, words: argparse.Namespace) -> list[Seen]:
    """Return crowded scenes of pedestrians."""
    detector, motion = StatedDetector(reach=words.reach), Straight((words.density,) * 3)
    worlds = CrossingWorlds(words.objects, words.duration, words.rate, motion=motion, detector=detector)
    generator = torch.Generator().manual_seed(seed)
    made, scenes = worlds.batch(count, generator), list[Seen]()
    for row in range(count):
        truth, found = (one.of_class(KIND) for one in made.objects(row))
        looks = appearance(truth, found, generator, words.noise)
        scenes.append(Seen(truth, found, looks.features, looks.body))
    return scenes


def learn(scenes: list[Seen], steps: int) -> IdentityEmbedder:
    """Train by contrast, on detections of many bodies of many scenes a step."""
    features = torch.cat([one.features[one.body >= 0] for one in scenes])
    body = torch.cat([one.body[one.body >= 0] + EVERY * k for k, one in enumerate(scenes)])
    names = body.unique()
    embedder = IdentityEmbedder(FEATURES)
    optimiser = torch.optim.AdamW(embedder.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        rows = torch.isin(body, names[torch.randperm(len(names))[:BODIES]])
        loss = contrastive_loss(embedder(features[rows]), body[rows], embedder.temperature)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return embedder.eval()


def raw() -> IdentityEmbedder:
    """Return an embedder that learns nothing but its calibration."""
    made = IdentityEmbedder(FEATURES)
    made.layers = nn.Sequential(Raw())
    return made


def calibrated(embedder: IdentityEmbedder, scenes: list[Seen]) -> IdentityEmbedder:
    """Turn its cosines into log odds, on scenes that it was not trained on."""
    number = torch.cat([torch.full_like(one.body, k) for k, one in enumerate(scenes)])
    embedder.calibrate(torch.cat([s.features for s in scenes]), torch.cat([s.body for s in scenes]), number)
    return embedder


def scored(scenes: list[Seen], affinity: Affinity, words: argparse.Namespace) -> dict[str, float]:
    """Return the scores of a tracker with an affinity."""
    rule = PlainRule(KIND, "centre")
    metrics = HOTA(rule), ClearMOT(rule), IDF1(rule)
    tracker = Tracker(
        Detector(BoxNoise([[math.log(1.4 * s), 0.25, 0.0] for s in SPREAD], along=False),
                 ScoreCalibration(2.5, 1.5), least=-3.0),
        Predictor(ConstantVelocity([words.density**0.5] * 2 + [0.01], [0.01, 0.01, 0.01, 0.02])),
        SinglePass(affinity, Hungarian()),
        Updater(Existence(seen=0.8)),
        Initiator([1.2, 1.2, 0.1], least=-1.0),
        Deleter(least=-4.0, silence=3.0),
        ByExistence(1.0),
    )  # fmt: skip
    for one in scenes:
        if isinstance(affinity, IdentityAffinity):
            affinity.look(one.features)
        tracks = tell(tracker.run(one.found), one.found)
        for metric in metrics:
            metric.update(one.truth, tracks)
    found = {key: float(value) for metric in metrics for key, value in metric.compute().items()}
    return {key: found[key] for key in SHOWN}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scenes", type=int, default=6, help="held out and calibrated on; eight times as many train")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--objects", type=int, default=400, help="bodies of all classes in a scene")
    parser.add_argument("--reach", type=float, default=25.0, help="of the sensor, metres: the smaller, the denser")
    parser.add_argument("--rate", type=float, default=1.0, help="frames a second")
    parser.add_argument("--duration", type=float, default=10.0)
    parser.add_argument("--density", type=float, default=2.0, help="of the bodies' white acceleration, m^2/s^3")
    parser.add_argument("--noise", type=float, default=0.6, help="of the looks")
    words = parser.parse_args()
    torch.set_num_threads(1)
    rows = dict[str, list[dict[str, float]]]()
    for seed in words.seeds:
        torch.manual_seed(seed)
        train, known, held = (drawn(count, 10 * seed + part, words) for part, count in
                              enumerate((8 * words.scenes, words.scenes, words.scenes)))  # fmt: skip
        place = Mahalanobis(limit=40.0, reach=6.0)
        ways = {"place alone": place, "place and raw looks": IdentityAffinity(place, calibrated(raw(), known))}
        ways["place and learned looks"] = IdentityAffinity(place, calibrated(learn(train, words.steps), known))
        for name, affinity in ways.items():
            rows.setdefault(name, []).append(scored(held, affinity, words))
    print(f"{KIND}, {words.scenes} held-out scenes a seed, seeds {words.seeds}, online; distance up to 4 m")
    print(f"| affinity | {' | '.join(SHOWN)} |\n|---|" + "---:|" * len(SHOWN))
    for name, found in rows.items():
        print(f"| {name} | {' | '.join(cell([one[key] for one in found]) for key in SHOWN)} |")


def cell(values: list[float]) -> str:
    """Mean and deviation over seeds."""
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


if __name__ == "__main__":
    main()
