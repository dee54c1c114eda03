"""Show what each feature extractor is worth: train with it, without a part of it, and with what is simpler.

    python recipes/features.py points --seeds 0 1 2 [--device cuda] [--count 2000] [--epochs 20] [--out FILE.json]
    python recipes/features.py images | imu | objects

What each is asked: points and images, how fast the robot drives and turns, from two looks 0.3 s apart; imu, where it is
after two seconds of rolling, its speed not told; objects, the gap to the nearest hull, how many people are near, and
where the one who looks as the operator does will be in a second.

Every seed draws its own training drives, weights and held-out drives from the simulated worlds. Printed: root mean
square error of each target on held-out drives, mean and deviation over seeds. All rows are online: nothing is read that
lies after the moment asked about. `training mean` always answers that; it is what anything must beat.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import torch
from torch import Tensor, nn

from mambats.encoders import CausalEncoder, ImageEncoder, ImuEncoder, ObjectEncoder, PillarEncoder, VoxelEncoder
from mambats.encoders.features import FeatureExtractor, PointGrid
from mambats.encoders.features.curve import Order
from mambats.mixers import MambaSettings
from mambats.preprocess.imu import Preintegration
from mambats.preprocess.imu.so3 import logarithm
from mambats.series import SensorRows
from mambats_datasets.synthetic import examples, examples_objects
from mambats_datasets.synthetic.examples import Examples
from mambats_datasets.synthetic.examples_inertial import inertial_windows
from mambats_datasets.synthetic.motion import GRAVITY

WIDTH = 32
MIXER = MambaSettings(state_size=8)
BATCH = 128
SECOND = 1_000_000_000


class Answer(nn.Module):
    """An extractor with a small head for k targets."""

    def __init__(self, extractor: nn.Module, targets: int) -> None:
        super().__init__()
        self.extractor = extractor
        width = extractor.width if isinstance(extractor, FeatureExtractor) else WIDTH
        self.head = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, targets))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Answer from the inputs of a batch of examples."""
        return self.head(self.extractor(*inputs))


class PointSet(nn.Module):
    """Points without a grid: each through a small network, mean and maximum over all."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(5, 2 * WIDTH), nn.SiLU(), nn.Linear(2 * WIDTH, WIDTH), nn.SiLU())
        self.outer = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, points: Tensor) -> Tensor:
        """Return a token (N, WIDTH) of points (N, P, 5)."""
        there = points.isfinite().all(-1, keepdim=True)
        scale = points.new_tensor([16, 16, 4, 1, 1])
        token = self.inner(torch.where(there, points, torch.zeros_like(points)) / scale) * there
        return self.outer(torch.cat([token.sum(1) / there.sum(1).clamp_min(1), token.amax(1)], -1))


class PatchSet(nn.Module):
    """Patches each through a small network with its place, and their mean: what each picture part says on its own."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Conv2d(6, 2 * WIDTH, 8, 8)
        self.place = nn.Parameter(torch.randn(2 * WIDTH, 4, 6) * 0.02)
        self.inner = nn.Sequential(
            nn.SiLU(), nn.Conv2d(2 * WIDTH, 2 * WIDTH, 1), nn.SiLU(), nn.Conv2d(2 * WIDTH, WIDTH, 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return a token (N, WIDTH) of pictures (N, 6, 32, 48)."""
        return self.inner(self.embedding(images / 127.5 - 1) + self.place).mean((2, 3))


class Samples(nn.Module):
    """Tokens of an IMU at a steady pace, read by a causal encoder; the last one answers."""

    def __init__(self, imu: ImuEncoder) -> None:
        super().__init__()
        self.imu = imu
        self.sequence = CausalEncoder(WIDTH, WIDTH, 2, mixer=MIXER)

    def forward(self, values: Tensor, stamps: Tensor) -> Tensor:
        """Return a token (N, WIDTH) of samples (N, T, 6) at stamps (N, T)."""
        there = torch.ones_like(stamps, dtype=torch.bool)
        rows = SensorRows(values, there, torch.ones_like(values[..., 0]), stamps)
        tokens = self.imu.encode_rows(rows, 2 * SECOND)
        return self.sequence(tokens.values, tokens.gaps, mask=tokens.mask)[0][:, -1]


class EverySample(nn.Module):
    """No tokens: the causal encoder reads all samples (brought to one size) as they come."""

    def __init__(self) -> None:
        super().__init__()
        self.sequence = CausalEncoder(6, WIDTH, 2, mixer=MIXER)

    def forward(self, values: Tensor, stamps: Tensor) -> Tensor:
        """Return a token (N, WIDTH) of samples (N, T, 6)."""
        return self.sequence(values / values.new_tensor([1, 1, 1, 10, 10, 10]))[0][:, -1]


def point_models() -> dict[str, Callable[[], nn.Module]]:
    """Pillars and voxels in several orders, and without grid or mixing."""
    flat = PointGrid((-24, -24, -2.4), (24, 24, 2.4), (1, 1, 4.8))
    cubes = PointGrid((-24, -24, -2.4), (24, 24, 2.4), (1, 1, 1.2))

    def voxels(*orders: Order, layers: int = 2, distance: bool = True) -> Callable[[], nn.Module]:
        return lambda: VoxelEncoder(5, WIDTH, layers, cubes, orders, MIXER, 640, distance)

    return {
        "pillars": lambda: PillarEncoder(5, WIDTH, flat),
        "voxels, hilbert + hilbert_yx": voxels("hilbert", "hilbert_yx"),
        "voxels, hilbert": voxels("hilbert"),
        "voxels, morton": voxels("morton"),
        "voxels, raster": voxels("raster"),
        "voxels, shuffled": voxels("shuffled"),
        "voxels, hilbert, no distances": voxels("hilbert", "hilbert_yx", distance=False),
        "voxels, no mixing": voxels("raster", layers=0),
        "point set, no grid": PointSet,
    }


def image_models() -> dict[str, Callable[[], nn.Module]]:
    """The picture encoder, and without its parts."""

    def image(pool: str = "mean", order: str = "raster", layers: int = 3) -> ImageEncoder:
        return ImageEncoder(6, WIDTH, layers, (32, 48), 8, pool, order, MIXER)  # type: ignore[arg-type]

    def no_places() -> ImageEncoder:
        made = image()
        made.place.requires_grad_(False).zero_()
        return made

    return {
        "patches, mean": image,
        "class token": lambda: image("class"),
        "hilbert": lambda: image("mean", "hilbert"),
        "no places": no_places,
        "no mixing": lambda: image(layers=0),
        "patch networks, no mixing": PatchSet,
    }


def imu_models() -> dict[str, Callable[[], nn.Module]]:
    """Tokens of each kind at 2 and at 10 Hz, and no tokens."""

    def tokens(rate: int, kinds: str) -> Callable[[], nn.Module]:
        def make() -> nn.Module:
            encoder = CausalEncoder(6, WIDTH, 2, mixer=MIXER) if "learned" in kinds else None
            noise = Preintegration() if "preintegrated" in kinds else None
            return Samples(ImuEncoder(WIDTH, SECOND // rate, noise, encoder, "mean" in kinds, room=200 // rate + 4))

        return make

    kinds = ("preintegrated + learned", "preintegrated", "learned", "mean sample")
    made = {f"{kind}, {rate} Hz": tokens(rate, kind) for kind in kinds for rate in (10, 2)}
    return {**made, "every sample, no tokens": EverySample}


def object_models() -> dict[str, Callable[[], nn.Module]]:
    """All parts, and all but one."""
    parts = ("position", "velocity", "size", "yaw", "score", "class", "appearance")
    channels = (*examples_objects.COLUMNS, *(f"a{i}" for i in range(examples_objects.LOOKS)))

    def objects(without: str) -> Callable[[], nn.Module]:
        kept = [part for part in parts if part != without]
        return lambda: ObjectEncoder(channels, 2 * WIDTH, kept, 8, examples_objects.NEAR)  # type: ignore[arg-type]

    return {"all parts": objects(""), **{f"no {part}": objects(part) for part in parts}}


@dataclass(frozen=True)
class Show:
    """One table: where examples come from, which models are compared, and how long they train."""

    draw: Callable[[int, torch.Generator], Examples]
    models: Callable[[], dict[str, Callable[[], nn.Module]]]
    count: int
    epochs: int


SHOWS = {
    "points": Show(examples.sweep_pairs, point_models, 8000, 20),
    "images": Show(examples.picture_pairs, image_models, 8000, 20),
    "imu": Show(inertial_windows, imu_models, 12000, 16),
    "objects": Show(examples_objects.object_tables, object_models, 24000, 16),
}


def main() -> None:
    """Read the arguments, train every model on every seed, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("show", choices=SHOWS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--count", type=int, help="training examples a seed")
    parser.add_argument("--held-out", type=int, default=1000, help="held-out examples a seed")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="+", help="names of models")
    parser.add_argument(
        "--share", type=int, nargs=2, default=(0, 1), metavar=("I", "N"), help="part I of N of the models, from 0"
    )
    parser.add_argument("--out", type=Path, help="where to write the errors as JSON, after every model")
    parser.add_argument("--read", type=Path, nargs="+", help="print the table of such files instead")
    given = parser.parse_args()
    if given.read:
        print_files(given.show, given.read)
        return
    show = SHOWS[given.show]
    count, epochs = given.count or show.count, given.epochs or show.epochs
    models = {name: make for name, make in show.models().items() if given.only is None or name in given.only}
    models = dict(list(models.items())[given.share[0] :: given.share[1]])
    run = {"show": given.show, "count": count, "epochs": epochs, "seeds": given.seeds, "device": given.device}
    scores: dict[str, list[list[float]]] = {}
    names: tuple[str, ...] = ()
    for seed in given.seeds:
        train, test = (draw(show, seed, part, size, given.device) for part, size in ((0, count), (1, given.held_out)))
        names = tuple(dict.fromkeys(train.names))
        for name, error in baselines(given.show, train, test).items() if given.share[0] == 0 else ():
            scores.setdefault(name, []).append(error)
        for name, make in models.items():
            start = time.perf_counter()
            scores.setdefault(name, []).append(fit(make, train, test, epochs, seed))
            print(f"# seed {seed}, {name}: {scores[name][-1]} in {time.perf_counter() - start:.0f} s", flush=True)
            if given.out:
                given.out.write_text(json.dumps({**run, "targets": names, "rmse": scores}, indent=1))
    print(f"{given.show}, {count} examples, {epochs} epochs, seeds {given.seeds}, {given.device}; RMSE, online")
    print(table(scores, names))


def print_files(show: str, paths: Sequence[Path]) -> None:
    """Print one table of what several runs wrote: of other seeds, or of other shares of the models."""
    runs = [run for path in sorted(paths) if (run := json.loads(path.read_text()))["show"] == show]
    if len({(run["count"], run["epochs"]) for run in runs}) != 1:
        raise ValueError(f"{[str(path) for path in paths]} hold {len(runs)} runs of {show}: need some, of one size.")
    own = SHOWS[show].models()
    names = dict.fromkeys([*(name for run in runs for name in run["rmse"] if name not in own), *own])
    scores = {name: [error for run in runs for error in run["rmse"].get(name, [])] for name in names}
    seeds = sorted({seed for run in runs for seed in run["seeds"]})
    size = f"{runs[0]['count']} examples, {runs[0]['epochs']} epochs"
    print(f"{show}, {size}, seeds {seeds}, {runs[0]['device']}; RMSE, online")
    print(table({name: errors for name, errors in scores.items() if errors}, tuple(runs[0]["targets"])))


def draw(show: Show, seed: int, part: int, count: int, device: str) -> Examples:
    """Draw examples in batches, so that memory stays small; parts of a seed share no drive."""
    generator = torch.Generator(device).manual_seed(2 * seed + part + 1)
    made = [show.draw(min(1024, count - begin), generator) for begin in range(0, count, 1024)]
    columns = zip(*(one.inputs for one in made), strict=True)
    inputs = tuple(stack(column) for column in columns)
    return Examples(inputs, torch.cat([one.target for one in made]), made[0].names)


def stack(parts: Sequence[Tensor]) -> Tensor:
    """Put batches behind one another, padded to the longest table."""
    if parts[0].ndim < 3:
        return torch.cat(list(parts))
    most = max(part.shape[1] for part in parts)
    pad = [0, 0] * (parts[0].ndim - 2)
    return torch.cat([nn.functional.pad(part, [*pad, 0, most - part.shape[1]]) for part in parts])


def baselines(show: str, train: Examples, test: Examples) -> dict[str, list[float]]:
    """Errors of what learns nothing: the training mean, and for an IMU the sum of its samples."""
    made = {"training mean": rmse(train.target.mean(0).expand_as(test.target), test.target, test.names)}
    if show == "imu":
        mean = float(train.target[:, 0].mean()) / 2
        sums = [roll(one.inputs[0].double(), one.inputs[1].double() / SECOND, mean) for one in (train, test)]
        made["strapdown"] = rmse(sums[1], test.target, test.names)
        told, asked = (shake(one.inputs[0], own) for one, own in zip((train, test), sums, strict=True))
        weights = torch.linalg.lstsq(told, train.target.double()).solution
        made["least squares on strapdown and shake"] = rmse((asked @ weights).float(), test.target, test.names)
    if show == "points":
        answers = torch.stack([register(points) for points in test.inputs[0]])
        made["registration"] = rmse(answers, test.target, test.names)
    return made


def roll(values: Tensor, stamps: Tensor, speed: float) -> Tensor:
    """Add samples (N, T, 6) at stamps (N, T) in seconds up to where a robot is after 2 s: way (N, 2) and turn (N,).

    Classical, no training: the mean force of the window is up, the robot sets out at `speed`, biases are zero.
    """
    ends = nn.functional.pad(stamps[:, 1:], (0, 1), value=2.0)
    begins = nn.functional.pad(stamps[:, 1:], (1, 0))
    whole = Preintegration()(values[..., :3], values[..., 3:], (ends - begins).clamp_min(0))
    up = nn.functional.normalize(values[..., 3:].mean(1), dim=-1)
    ahead = nn.functional.normalize(up.new_tensor([1, 0, 0]) - up[:, :1] * up, dim=-1)
    way = whole.position + 2 * speed * ahead - GRAVITY * 2 * up
    left = torch.linalg.cross(up, ahead)
    turn = (logarithm(whole.quaternion) * up).sum(-1)
    return torch.stack([(way * ahead).sum(-1), (way * left).sum(-1), turn], -1).float()


def shake(values: Tensor, sums: Tensor) -> Tensor:
    """Return numbers (N, 8), made by hand, of samples (N, T, 6) and their strapdown sums (N, 3), float64.

    The deviation of the force along z, and that of its differences over it, which rises with the frequency.
    """
    force = values[..., 5].double()
    strong, turn = force.std(1), sums[:, 2].double()
    quick = force.diff(dim=1).std(1) / strong
    return torch.stack([torch.ones_like(strong), strong, quick, quick**2, quick * turn, *sums.double().unbind(-1)], -1)


def register(points: Tensor) -> Tensor:
    """Lay one sweep onto the other by search: the forward speed and yaw rate that bring most points together.

    Classical, no training: the first sweep, ground out, is drawn as a blurred map of 10 cm cells; turns in steps of
    0.02 rad and shifts in steps of 0.05 m are tried, and the one where the second sweep falls brightest is taken.

    Source: E. Olson, Real-time correlative scan matching, ICRA 2009.
    """
    cell, reach = 0.1, 25.0
    there = points.isfinite().all(-1) & (points[:, 2] > -1) & (points[:, :2].norm(dim=-1) < reach - 1)
    first, second = (points[there & (points[:, 4] == sweep)][:, :2] for sweep in (0, 1))
    side = round(2 * reach / cell)
    column, row = ((first + reach) / cell).long().unbind(-1)
    drawn = points.new_zeros(1, 1, side, side)
    drawn[0, 0, row, column] = 1
    blur = (-(torch.arange(-4, 5).to(points) * cell / 0.15).square()).exp()
    drawn = nn.functional.conv2d(drawn, blur.view(1, 1, -1, 1), padding="same")
    drawn = nn.functional.conv2d(drawn, blur.view(1, 1, 1, -1), padding="same").clamp_max(1).flatten()
    turns, shifts = torch.linspace(-0.2, 0.2, 21).to(points), torch.linspace(0, 0.6, 13).to(points)
    turned = second @ torch.stack([turns.cos(), turns.sin(), -turns.sin(), turns.cos()], -1).view(-1, 2, 2)
    moved = turned.unsqueeze(1) + nn.functional.pad(shifts.unsqueeze(-1), (0, 1)).unsqueeze(1)
    column, row = ((moved + reach) / cell).long().clamp(0, side - 1).unbind(-1)
    best = drawn[row * side + column].sum(-1).flatten().argmax()
    return torch.stack([shifts[best % len(shifts)], turns[best // len(shifts)]]) / examples.APART


def rmse(answer: Tensor, target: Tensor, names: tuple[str, ...]) -> list[float]:
    """Return the root mean square error of each target; of a vector, that of its length."""
    squares = (answer - target).square().mean(0).tolist()
    return [
        math.sqrt(sum(s for s, own in zip(squares, names, strict=True) if own == name)) for name in dict.fromkeys(names)
    ]


def fit(make: Callable[[], nn.Module], train: Examples, test: Examples, epochs: int, seed: int) -> list[float]:
    """Train on scaled targets and return the errors on the test examples."""
    torch.manual_seed(seed)
    centre, scale = train.target.mean(0), train.target.std(0)
    model = Answer(make(), train.target.shape[1]).to(train.target.device)
    steps = max(1, epochs * (len(train.target) // BATCH))
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.01)
    warm = max(1, steps // 10)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / warm, (1 + math.cos(math.pi * min(1.0, step / steps))) / 2)
    )
    for _ in range(epochs):
        for rows in torch.randperm(len(train.target)).to(train.target.device).split(BATCH):
            if len(rows) < BATCH:
                continue
            answer = model(*(part[rows] for part in train.inputs))
            loss = nn.functional.smooth_l1_loss(answer, (train.target[rows] - centre) / scale)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            rate.step()
    model.eval()
    with torch.no_grad():
        every = torch.arange(len(test.target), device=test.target.device).split(BATCH)
        answer = torch.cat([model(*(part[rows] for part in test.inputs)) for rows in every])
    return rmse(answer * scale + centre, test.target, test.names)


def table(scores: dict[str, list[list[float]]], names: tuple[str, ...]) -> str:
    """Lay out mean and deviation over seeds of every error."""
    lines = [["model", *names, "seeds"]]
    for name, seeds in scores.items():
        spreads = [stdev(column) if len(column) > 1 else 0.0 for column in zip(*seeds, strict=True)]
        cells = [f"{mean(c):.3f} ± {s:.3f}" for c, s in zip(zip(*seeds, strict=True), spreads, strict=True)]
        lines.append([name, *cells, str(len(seeds))])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


if __name__ == "__main__":
    main()
