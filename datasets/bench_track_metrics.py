"""How long scores of tracks take: all of them, on 8,000 frames in the shape of KITTI's. Needs no data.

python datasets/bench_track_metrics.py [--frames 8000] [--seed 0]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import torch

from mambats.track import Objects
from mambats.track.metrics import NAMES, KittiRule, evaluate, hota_sums
from mambats.track.objects import splits_of

CLASSES = ("Car", "Van", "Pedestrian", "Cyclist", "DontCare")
# Of a frame, as KITTI's training sequences have them: 3.6 cars, 1.4 pedestrians, ...; a crowd now and then.
_MEAN = {"Car": 3.6, "Van": 0.5, "Pedestrian": 1.4, "Cyclist": 0.3, "DontCare": 1.5}
_LONG = 400
_SIZE = {"Car": (4.0, 1.7, 1.5), "Van": (5.0, 1.9, 2.1), "Pedestrian": (0.8, 0.6, 1.7), "Cyclist": (1.8, 0.6, 1.7)}


@dataclass(frozen=True)
class Sequence:
    """Labels and tracks of the same frames."""

    name: str
    labels: Objects
    tracks: Objects


def sequence(name: str, frames: int, generator: torch.Generator) -> Sequence:
    """Make bodies that come and go, and tracks of them: with noise, misses, false boxes and changed identities."""
    rows = list[tuple[float, ...]]()
    count = torch.arange(frames)
    for kind, mean in _MEAN.items():
        span = 60
        for number in range(round(mean * frames / span)):
            begin = int(torch.randint(0, max(1, frames - span // 2), (1,), generator=generator))
            x, y = (float(v) for v in torch.rand(2, generator=generator) * 40 - torch.tensor([0.0, 20.0]))
            speed = torch.randn(2, generator=generator).tolist()
            length, width, height = _SIZE.get(kind, (torch.nan,) * 3)
            for frame in count[begin : begin + span].tolist():
                past = 0.1 * (frame - begin)
                place = (x + 10 + past * speed[0], y + past * speed[1])
                rows.append((frame, CLASSES.index(kind), number, *place, 0.8, length, width, height, 0.3))
    table = torch.tensor(sorted(rows), dtype=torch.float64)
    return Sequence(name, _labels(table, frames, generator), _tracks(table, frames, generator))


def _labels(table: torch.Tensor, frames: int, generator: torch.Generator) -> Objects:
    occluded = torch.randint(0, 4, (len(table),), generator=generator)
    identity = 1000 * table[:, 1] + table[:, 2]
    ignored = table[:, 1] == CLASSES.index("DontCare")
    return _objects(table, frames, torch.where(ignored, -1, identity).long(), None, occluded)


def _tracks(table: torch.Tensor, frames: int, generator: torch.Generator) -> Objects:
    def drawn(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    kept = table[(drawn(len(table)) < 0.9) & (table[:, 1] != CLASSES.index("DontCare"))]
    kept = torch.where(kept[:, 1:2] == 1, kept * torch.tensor([1, 0] + [1.0] * 8).double(), kept)  # vans seen as cars
    changed = torch.where(drawn(len(kept)) < 0.03, 1, 0).cumsum(0) // 40
    identity = (1000 * kept[:, 1] + kept[:, 2] + 10_000 * changed).long()
    false = kept[drawn(len(kept)) < 0.2].clone()
    false[:, 3:5] += 20 * drawn(len(false), 2) - 10
    table = torch.cat([kept, false])
    identity = torch.cat([identity, 10_000_000 + torch.arange(len(false)) // 4])
    table[:, 3:] += 0.15 * (drawn(len(table), 7) - 0.5)
    order = torch.sort(table[:, 0], stable=True).indices
    once = _once(table[order, 0].long(), identity[order])
    table, identity = table[order][once], identity[order][once]
    score = (identity % 97) / 10 + drawn(len(identity))
    return _objects(table, frames, identity, score, None)


def _once(frame: torch.Tensor, identity: torch.Tensor) -> torch.Tensor:
    seen, kept = set[tuple[int, int]](), list[bool]()
    for key in zip(frame.tolist(), identity.tolist(), strict=True):
        kept.append(key not in seen)
        seen.add(key)
    return torch.tensor(kept)


def _objects(
    table: torch.Tensor,
    frames: int,
    identity: torch.Tensor,
    score: torch.Tensor | None,
    occluded: torch.Tensor | None,
) -> Objects:
    boxes = table[:, 3:]
    away = boxes[:, 0].clamp_min(3)
    half, high = (720 * boxes[:, at].nan_to_num(nan=2) / away for at in (4, 5))
    middle = 610 - 720 * boxes[:, 1] / away
    pixels = torch.stack([middle - half, 250 - high, middle + half, torch.full_like(high, 250)], -1)
    return Objects(
        stamps=torch.arange(frames) * 100_000_000,
        splits=splits_of(torch.bincount(table[:, 0].long(), minlength=frames).tolist()),
        boxes=boxes, labels=table[:, 1].long(), classes=CLASSES, score=score, identity=identity, pixels=pixels,
        truncated=None if occluded is None else torch.zeros(len(table)), occluded=occluded,
    )  # fmt: skip


def main() -> None:
    """Print seconds by similarity, processor time beside wall time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=8000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(given.seed)
    made = [sequence(f"{n:04d}", _LONG, generator) for n in range(given.frames // _LONG)]
    boxes = [
        sum(len(side.boxes) for side in sides) for sides in zip(*((s.labels, s.tracks) for s in made), strict=True)
    ]
    print(f"{given.frames:,} frames, {boxes[0]:,} boxes of labels, {boxes[1]:,} of tracks; one core")
    hota_sums(KittiRule("Car")(made[0].labels, made[0].tracks))  # scipy is loaded once
    for similarity in NAMES:
        wall, busy = time.perf_counter(), time.process_time()
        found = evaluate(made, ["car", "pedestrian", "cyclist"], similarity, 0.5)
        wall, busy = time.perf_counter() - wall, time.process_time() - busy
        car, families = found["TrackEval"]["Car"], ", ".join(found)
        print(
            f"{similarity:>8}: {families}, three classes: {busy:.2f} s of the core ({wall:.2f} s by the clock); "
            f"car HOTA {100 * car['HOTA']:.1f}, IDSW {car['IDSW']:.0f}"
        )


if __name__ == "__main__":
    main()
