"""Made-up sequences in KITTI's files, the same on every machine: what golden numbers were worked out on."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random

FRAMES = {"0000": 40, "0001": 30}
_SIZES = {
    "Car": (1.5, 1.7, 4.0), "Van": (2.1, 1.9, 5.0), "Pedestrian": (1.7, 0.6, 0.8), "Person": (1.2, 0.6, 0.7),
    "Cyclist": (1.7, 0.6, 1.8),
}  # fmt: skip
_BODIES = ("Car",) * 9 + ("Van",) * 2 + ("Pedestrian",) * 6 + ("Person",) + ("Cyclist",) * 3
_SEEN_AS = {"Van": "Car", "Person": "Pedestrian"}
_FOCAL, _MIDDLE = 720.0, (610.0, 175.0)


def write_sequences(folder: Path) -> tuple[Path, Path]:
    """Write labels and tracks; return both folders."""
    labels, tracks = folder / "labels", folder / "tracks"
    for number, (name, frames) in enumerate(FRAMES.items()):
        seen, told = _sequence(Random(number), frames)
        for place, lines in ((labels, seen), (tracks, told)):
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    seqmap = "".join(f"{name} empty 000000 {frames:06d}\n" for name, frames in FRAMES.items())
    (folder / "evaluate_tracking.seqmap.training").write_text(seqmap, encoding="utf-8")
    return labels, tracks


def _sequence(random: Random, frames: int) -> tuple[list[str], list[str]]:
    bodies = [_body(random, kind, frames) for kind in _BODIES]
    identity, score, fresh = list(range(len(bodies))), [random.uniform(0, 8) for _ in bodies], 100
    labels, tracks = list[str](), list[str]()
    for frame in range(frames):
        seen, told = list[str](), list[str]()
        for number, (kind, begin, end, place, speed, yaw) in enumerate(bodies):
            if not begin <= frame < end or (number % 5 == 0 and frame % 11 == 7):
                continue
            x, z = place[0] + speed[0] * (frame - begin), place[1] + speed[1] * (frame - begin)
            size = _SIZES[kind]
            hard = f"{int(random.random() < 0.05)} {random.choice((0, 0, 0, 1, 2, 3))}"
            seen.append(f"{frame} {number} {kind} {hard} {_numbers(x, z, size, yaw)}")
            if random.random() < 0.04:
                identity[number], fresh = fresh, fresh + 1
            if random.random() < 0.85 and not (number % 4 == 1 and 8 <= frame - begin < 12):
                away = [random.uniform(-0.35, 0.35) * size[1] for _ in range(2)]
                line = _numbers(x + away[0], z + 2 * away[1], size, yaw + random.uniform(-0.2, 0.2))
                told.append(
                    f"{frame} {identity[number]} {_SEEN_AS.get(kind, kind)} 0 0 {line} "
                    f"{score[number] + random.uniform(-2, 2):.4f}"
                )
        for kind in ("Car", "Pedestrian", "Cyclist"):
            if random.random() < 0.3:
                place = random.uniform(-10, 10), random.uniform(8, 60)
                line = _numbers(*place, _SIZES[kind], random.uniform(-3, 3))
                told.append(f"{frame} {fresh} {kind} 0 0 {line} {random.uniform(-2, 3):.4f}")
                fresh += random.random() < 0.6
        seen.append(f"{frame} -1 DontCare -1 -1 -10 400 150 520 210 -1 -1 -1 -1000 -1000 -1000 -10")
        labels += seen
        tracks += _once(told)
    return labels, tracks


def _body(random: Random, kind: str, frames: int):
    begin = random.randrange(frames // 3)
    end = random.randrange(2 * frames // 3, frames + 1)
    # Near one another, so that boxes overlap in the picture and in space.
    place = random.uniform(-6, 6), random.uniform(10, 45 if kind == "Car" else 25)
    speed = random.uniform(-0.2, 0.2), random.uniform(-0.3, 0.5)
    return kind, begin, end, place, speed, random.uniform(-math.pi, math.pi)


def _numbers(x: float, z: float, size: tuple[float, float, float], yaw: float) -> str:
    height, width, length = size
    z = max(z, 3.0)
    left, right = (_MIDDLE[0] + _FOCAL * (x + side * (width + length) / 4) / z for side in (-1, 1))
    top, bottom = _MIDDLE[1] + _FOCAL * (1.6 - height) / z, _MIDDLE[1] + _FOCAL * 1.6 / z
    yaw = (yaw + math.pi) % (2 * math.pi) - math.pi
    values = (-10, left, top, right, bottom, height, width, length, x, 1.6, z, yaw)
    return " ".join(f"{value:.4f}" for value in values)


def _once(lines: list[str]) -> list[str]:
    """A track that was given twice in a frame keeps its first box."""
    kept = dict[str, str]()
    for line in lines:
        kept.setdefault(line.split()[1], line)
    return list(kept.values())
