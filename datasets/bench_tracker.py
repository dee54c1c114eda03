"""How many frames a second a tracker of boxes follows, by how many bodies there are. One thread.

    python datasets/bench_tracker.py                                   # made-up bodies, 10 to 3,000
    python datasets/bench_tracker.py --kitti ROOT                      # and the labelled KITTI sequences, by class

Bodies stand in a grid 15 m apart and drift; each is seen in 9 of 10 frames, with 2 false boxes in 10. Times are the
process's own, for others may share the machine; the best of three runs.
"""

import argparse
import time
from pathlib import Path

import torch

from mambats.track import Objects
from mambats.track.job import read_recipe
from mambats.track.objects import splits_of

RECIPES = Path(__file__).parents[1] / "recipes" / "track"


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


def main():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kitti", type=Path)
    parser.add_argument("--most", type=int, default=3000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for bodies in (10, 30, 100, 300, 1000, 3000):
        if bodies <= given.most:
            speed = best(read_recipe(RECIPES / "kitti_car.yaml").tracker, [crowd(bodies, max(5, 2000 // bodies))])
            print(f"{bodies:>6} bodies: {speed:>8,.0f} frames/s, {1e6 / speed / bodies:6.1f} us a body")
    for kind in ("Car", "Pedestrian", "Cyclist") if given.kitti else ():
        tracker = read_recipe(RECIPES / f"kitti_{kind.lower()}.yaml").tracker
        print(f"KITTI {kind}: {best(tracker, kitti(given.kitti, kind), 2):,.0f} frames/s")


if __name__ == "__main__":
    main()
