"""How fast is the simulated world? Sweeps, pictures, detections and whole worlds a second; and a picture to look at.

    python datasets/bench_world.py [--device cuda] [--scenes 1] [--repeats 5]
    python datasets/bench_world.py --picture world.png

Each scene is a car's 10 s through 24 things that move and 48 that stand. `sweep` is of 32 x 320 = 10,240 rays with
noise, in float32; `hills` the same over waves of 0.3 m instead of a plane; `picture` has 96 x 64 pixels; `landmarks`
tests 200 of them in a picture; `targets` and `detections` are one time of all objects, visibility by ray casts
included; `world` draws a scene without collisions. Rates are per sweep (picture, time, world): the median and the best
of the repeats, by processor time on one thread of a CPU, which a busy machine disturbs less than the clock, and by the
clock on a GPU. `tried` is the number of boxes that a LiDAR's column is left with of 72; `undecided` the share of rays
over hills that the ground's iteration gave up.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mambats_datasets.synthetic.trajectory import random_trajectory, uniform_times
from mambats_datasets.synthetic.world import NOTHING, Camera, Detector, Landmarks, Layout, Lidar, outlines
from mambats_datasets.synthetic.world.pose import sensor_pose
from mambats_datasets.synthetic.world.slab import nearby

SECONDS = 10.0


def rates(work: Callable[[], object], count: int, repeats: int, device: str) -> tuple[float, float]:
    """Median and best of things a second, after one run that is not counted."""
    work()
    clock = time.process_time if device == "cpu" else time.perf_counter
    made = []
    for _ in range(repeats):
        wait(device)
        began = clock()
        work()
        wait(device)
        made.append(count / (clock() - began))
    return float(np.median(made)), max(made)


def wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def measure(device: str, scenes: int, repeats: int) -> None:
    generator = torch.Generator(device).manual_seed(0)
    ego = random_trajectory("car", scenes, SECONDS, generator)
    scene, hills = (Layout(relief=relief).draw(generator, ego) for relief in (0.0, 0.3))
    lidar, camera, detector, landmarks = Lidar(), Camera(), Detector(), Landmarks()
    t = uniform_times(scenes, SECONDS, 10.0, device)[:, :20].contiguous()
    points, targets = landmarks.draw(scene, generator), detector.targets(scene, ego, t)
    works: dict[str, Callable[[], object]] = {
        "sweep": lambda: lidar.sweep(scene, ego, t, generator),
        "hills": lambda: lidar.sweep(hills, ego, t, generator),
        "picture": lambda: camera.render(scene, ego, t, generator),
        "landmarks": lambda: landmarks.observe(points, camera, scene, ego, t, generator),
        "targets": lambda: detector.targets(scene, ego, t),
        "detections": lambda: detector.detect(targets, generator),
        "world": lambda: Layout().draw(generator, ego),
    }
    for name, work in works.items():
        count = scenes if name == "world" else t.numel()
        median, best = rates(work, count, repeats, device)
        print(f"{name:12} {median:12,.0f} /s   best {best:12,.0f}")
    rays = lidar.rays(ego, t[:, :2])
    tried = (nearby(scene.boxes(rays.time), rays, lidar.reach).half[..., 0] > 0).sum(-1)
    print(f"{'tried':12} {tried.double().mean():12.1f} of {scene.kind.shape[1]}, at most {tried.max()}")
    print(f"{'undecided':12} {undecided(hills, lidar.rays(ego, t[:, :2])):12.1e}")
    if device != "cpu":
        print(f"{'peak memory':12} {torch.cuda.max_memory_allocated() / 2**20:12,.0f} MiB")


def undecided(scene, rays) -> float:
    """Share of rays that met nothing although a place 1 to 100 m along them lies under the ground."""
    met = scene.ground.cast(rays.origin, rays.direction, 100.0).isfinite()
    below = torch.zeros_like(met)
    for far in torch.linspace(1, 100, 200):
        spot = rays.origin[:, :, None] + far * rays.direction
        below |= spot[..., 2] < scene.ground.height(spot[..., :2]) - 1e-3
    return float((below & ~met).double().mean())


def draw(path: Path, seed: int) -> None:
    """A sweep from above, de-skewed, with the boxes; and what the camera saw, its depth and its objects."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    generator = torch.Generator().manual_seed(seed)
    ego = random_trajectory("car", 1, SECONDS, generator)
    scene, lidar = Layout(objects=32).draw(generator, ego), Lidar(rings=48, columns=900)
    camera, detector = Camera(width=480, height=320), Detector()
    t = torch.full((1, 1), 5.0, dtype=torch.float64)
    sweep, picture = lidar.sweep(scene, ego, t, generator), camera.render(scene, ego, t, generator)
    targets = detector.targets(scene, ego, t)
    figure, axes = pyplot.subplot_mosaic("ab;ac;ad", figsize=(13, 10), width_ratios=(2, 1))
    own = sensor_pose(ego(t + sweep.t[None]), lidar.mount)
    begin = sensor_pose(ego(t), lidar.mount)
    still = begin.into(own.out(sweep.points[0, 0].double()[None, :, None]).transpose(1, 2))[0, 0]
    from_above(axes["a"], still[sweep.returned[0, 0]], sweep.kind[0, 0][sweep.returned[0, 0]], scene, begin, t)
    score(axes["a"], detector.detect(targets, generator))
    axes["b"].imshow(picture.image[0, 0])
    seen = outlines(scene.moving(t), camera, camera.pose(ego, t), picture.object)
    for side, shown in zip(seen.sides[0, 0], seen.pixels[0, 0], strict=True):
        if shown > 0:
            left, top, right, bottom = side.tolist()
            axes["b"].plot([left, right, right, left, left], [top, top, bottom, bottom, top], "w-", lw=0.8)
    axes["c"].imshow(picture.depth[0, 0].clamp_max(60), cmap="viridis")
    axes["d"].imshow(picture.object[0, 0] % 20 * (picture.object[0, 0] > NOTHING), cmap="tab20")
    for name, title in {"b": "camera, outlines of what shows", "c": "depth to 60 m", "d": "objects"}.items():
        axes[name].set(title=title, xticks=[], yticks=[])
    figure.tight_layout()
    figure.savefig(path, dpi=80)


def from_above(axes, points, kind, scene, pose, t) -> None:
    axes.scatter(points[:, 0], points[:, 1], c=kind, s=0.6, cmap="tab10", vmin=0, vmax=9)
    boxes = scene.boxes(t)
    corners = pose.into(boxes.corners().flatten(2, 3))[0, 0].view(-1, 8, 3)
    for index in torch.nonzero(boxes.alive[0, 0])[:, 0].tolist():
        ring = corners[index][[0, 1, 3, 2, 0]]
        axes.plot(ring[:, 0], ring[:, 1], color="tab:red" if index < scene.count else "0.6", lw=1.0)
    axes.set(xlim=(-50, 60), ylim=(-50, 50), aspect="equal", xlabel="x, m", ylabel="y, m")
    axes.set_title("one sweep, de-skewed; structures grey, movers red, detections by score")


def score(axes, found) -> None:
    here = found.present[0, 0]
    box = found.box[0, 0][here]
    axes.scatter(box[:, 0], box[:, 1], s=60 * found.score[0, 0][here] + 5, facecolors="none", edgecolors="k", lw=0.8)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the simulated world.")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--scenes", type=int, default=None, help="1 on a CPU, 32 on a GPU")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="of the picture")
    options = parser.parse_args()
    if options.picture:
        draw(options.picture, options.seed)
        return
    torch.set_num_threads(1)
    measure(options.device, options.scenes or (1 if options.device == "cpu" else 32), options.repeats)


if __name__ == "__main__":
    main()
