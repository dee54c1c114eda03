"""How many frames a second a tracker of boxes follows, by how many bodies there are. One thread.

    python datasets/bench_tracker.py                                   # made-up bodies, 10 to 3,000
    python datasets/bench_tracker.py --kitti ROOT                      # and the labelled KITTI sequences, by class
    python datasets/bench_tracker.py --most 0 --scenes 1000 --device cuda    # crossing bodies, all scenes at once

Bodies stand in a grid 15 m apart and drift; each is seen in 9 of 10 frames, with 2 false boxes in 10. Times are the
process's own, for others may share the machine; the best of three runs. Those of scenes at once are of the clock, with
histories back on the CPU; a few of them are compared with what each is alone.
"""

import argparse
import json
import math
import time
from dataclasses import replace
from pathlib import Path

import torch

from mambats.track import (
    ByExistence,
    ConstantVelocity,
    Deleter,
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
)
from mambats.track.centre.told import ToldNoise
from mambats.track.objects import splits_of

RECIPES = Path(__file__).parents[1] / "recipes" / "track"


def recipe(kind):
    """The tracker of a class's recipe."""
    from mambats.track.recipe import read_recipe

    return read_recipe(RECIPES / f"kitti_{kind}.yaml").tracker


def crowd(bodies, frames, seed=0):
    """Detections of a grid of bodies that drift."""
    random = torch.Generator().manual_seed(seed)
    side = int(bodies**0.5) + 1
    number = torch.arange(bodies)
    start = torch.zeros(bodies, 7).double()
    start[:, 0], start[:, 1] = 15.0 * (number % side) + 10, 15.0 * (number // side)
    start[:, 3:6] = torch.tensor([4.0, 1.7, 1.5]).double()
    speed = torch.randn(bodies, 2, generator=random).double()
    parts = []
    for f in range(frames):
        boxes = start.clone()
        boxes[:, :2] += 0.1 * f * speed
        boxes += 0.05 * torch.randn(boxes.shape, generator=random).double()
        false = start[torch.rand(bodies, generator=random) < 0.2] + torch.tensor([7.5, 7.5, 0, 0, 0, 0, 0]).double()
        parts.append(torch.cat([boxes[torch.rand(bodies, generator=random) < 0.9], false]))
    boxes = torch.cat(parts)
    stamps, labels = torch.arange(frames) * 100_000_000, torch.zeros(len(boxes), dtype=torch.int64)
    return Objects(stamps, splits_of([len(p) for p in parts]), boxes, labels, ("Car",), torch.full((len(boxes),), 6.0))


def best(tracker, sequences, rounds=3):
    """Frames a second of the fastest of some runs."""
    seconds = []
    for _ in range(rounds):
        began = time.process_time()
        for one in sequences:
            tracker.run(one)
        seconds.append(time.process_time() - began)
    return sum(len(one) for one in sequences) / min(seconds)


def kitti(root, kind):
    """Detections of the sequences that have labels."""
    from mambats.formats.kitti import read_detections
    from mambats.track.kitti import from_kitti

    names = sorted(path.stem for path in (root / "label_02").glob("*.txt"))
    files = [root / "det3d_pointrcnn" / kind / f"{name}.txt" for name in names]
    return [from_kitti(read_detections(file)).of_class(kind) for file in files]


def crossing(scenes, device, seed=0):
    """Scenes of 16 crossing bodies over 100 frames, of all classes as one, and a tracker that knows their laws."""
    from mambats_datasets.synthetic.crossing import CrossingWorlds, StatedDetector

    made = CrossingWorlds().batch(scenes, torch.Generator(device).manual_seed(seed))
    found = [made.objects(row)[1] for row in range(scenes)]
    tracker = Tracker(
        ToldNoise(1.0, ScoreCalibration(2 * StatedDetector().separation, math.log(made.odds)), least=-3.0),
        Predictor(ConstantVelocity([0.7, 0.7, 1e-3], [1e-4, 1e-4, 1e-4, 1e-2])),
        SinglePass(Mahalanobis(limit=40.0, reach=8.0), Hungarian()),
        Updater(Existence(seen=0.9)),
        Initiator([8.0, 8.0, 0.1], least=-1.0),
        Deleter(least=-3.0, silence=2.0),
        ByExistence(least=1.0),
    )
    return tracker, [replace(one, labels=torch.zeros_like(one.labels), classes=("body",)) for one in found]


def at_once(tracker, sequences, device, rounds=3, compared=10):
    """Speed of all scenes at once and of one after another, and how far both are apart."""
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        histories = tracker.run_many(sequences, device=device)
        seconds.append(time.perf_counter() - began)
    began = time.perf_counter()
    alone = [tracker.run(one) for one in sequences[:compared]]
    single = sum(len(one) for one in sequences[:compared]) / (time.perf_counter() - began)
    same, apart = True, 0.0
    for one, other in zip(histories[:compared], alone, strict=True):
        same = same and torch.equal(one.tracks.identity, other.tracks.identity)
        same = (
            same and torch.equal(one.tracks.detection, other.tracks.detection) and torch.equal(one.frame, other.frame)
        )
        apart = max(apart, float((one.tracks.mean - other.tracks.mean).abs().max())) if same else math.inf
    frames = sum(len(one) for one in sequences)
    return {
        "scenes": len(sequences),
        "frames": frames,
        "tracks": sum(len(one.tracks.identity.unique()) for one in histories),
        "device": device if device == "cpu" else torch.cuda.get_device_name(),
        "seconds": seconds,
        "frames/s": frames / min(seconds),
        "frames/s one by one on the CPU": single,
        "same identities": same,
        "largest difference of a mean": apart,
    }


def main():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kitti", type=Path)
    parser.add_argument("--most", type=int, default=3000, help="made-up bodies; 0 for none")
    parser.add_argument("--scenes", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="figures of scenes at once, as JSON")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for bodies in (10, 30, 100, 300, 1000, 3000):
        if bodies <= given.most:
            speed = best(recipe("car"), [crowd(bodies, max(5, 2000 // bodies))])
            print(f"{bodies:>6} bodies: {speed:>8,.0f} frames/s, {1e6 / speed / bodies:6.1f} us a body")
    for kind in ("Car", "Pedestrian", "Cyclist") if given.kitti else ():
        tracker = recipe(kind.lower())
        print(f"KITTI {kind}: {best(tracker, kitti(given.kitti, kind), 2):,.0f} frames/s")
    if given.scenes:
        made = at_once(*crossing(given.scenes, given.device, given.seed), given.device)
        print(json.dumps(made, indent=1))
        if given.write:
            given.write.write_text(json.dumps(made))


if __name__ == "__main__":
    main()
