"""Real detections, frame by frame through `StreamRunner.push`: the tracks of `mambats track`, however frames come.

    python datasets/bench_replay_tracks.py               # MAMBATS_DATA names the folder of real data
    python datasets/bench_replay_tracks.py --sequences 0000 0011 --seeds 1
    python datasets/bench_replay_tracks.py --losses      # equality alone
    python datasets/bench_replay_tracks.py --equal 0 --output rows.json --picture loss.png    # loss alone

KITTI's sequences, PointRCNN's detections, recipes/track/kitti_car.yaml (or the recipe of another `--kind`):
`TrackerEngine` against `Tracker.run` and `tell`, what `mambats track` does online. Then HOTA by KITTI's rules in the
picture where frames are lost: told of what came alone, or with ticks, at which a lost frame's tracks are carried on.
What else is as in `bench_replay.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mambats.streaming import Answer, Packet
from mambats.streaming.engines.frame import DETECTIONS, pack_frame
from mambats.streaming.engines.tracker import TrackerEngine
from mambats.track.kitti import from_kitti
from mambats.track.objects import Objects, splits_of
from mambats.track.telling import tell
from replay import MS, Replay, draw, equality, finish, lossy, parser_of, pushed, settle

RECIPES = Path(__file__).parents[1] / "recipes" / "track"


def kitti_detections(root: Path, name: str, kind: str = "Car") -> Objects:
    """Read a sequence's detections, over as many frames as it has labels where there are any."""
    from mambats.formats.kitti import read_detections
    from mambats.track.kitti_folder import read_seqmap

    objects = from_kitti(read_detections(root / "det3d_pointrcnn" / kind / f"{name}.txt")).of_class(kind)
    seqmap = root / "evaluate_tracking.seqmap.val"
    frames = read_seqmap(seqmap).get(name, len(objects)) if seqmap.is_file() else len(objects)
    frames = max(frames, len(objects))
    ends = torch.cat([objects.splits, objects.splits[-1:].expand(frames - len(objects))])
    return replace(objects, stamps=torch.arange(frames) * 100 * MS, splits=ends)


def kitti_packets(objects: Objects, most: int) -> list[Packet]:
    """Return a packet a frame."""
    boxes, score = objects.boxes.numpy(), None if objects.score is None else objects.score.numpy()
    ends = objects.splits.tolist()
    return [
        Packet(DETECTIONS, stamp, pack_frame(boxes[a:b], None if score is None else score[a:b], most))
        for stamp, a, b in zip(objects.stamps.tolist(), ends, ends[1:], strict=False)
    ]


def kitti_replay(objects: Objects, name: str, kind: str = "Car", ticks: bool = False) -> Replay:
    """Return a sequence to be pushed, and what `mambats track` tells of it online."""
    from mambats.track.recipe import read_recipe

    tracker = read_recipe(RECIPES / f"kitti_{kind.lower()}.yaml").tracker
    told, wanted = tell(tracker.run(objects), objects, "online"), dict[int, dict[str, np.ndarray]]()
    ends = told.splits.tolist()
    for stamp, a, b in zip(told.stamps.tolist(), ends, ends[1:], strict=False):
        parts = {"identity": told.identity, "box": told.boxes, "velocity": told.velocity,
                 "covariance": told.covariance, "score": told.score}  # fmt: skip
        wanted[stamp] = {name: part[a:b].numpy() for name, part in parts.items() if part is not None}
        wanted[stamp]["count"] = np.asarray(b - a)
    tick = 100 * MS if ticks else None
    engine = TrackerEngine(tracker, tick_ns=tick)
    return Replay(f"kitti {name}", engine, kitti_packets(objects, engine.most), wanted, 300 * MS, tick_ns=tick)


def kitti_tracks(answers: Sequence[Answer], objects: Objects, kind: str = "Car") -> Objects:
    """Return answers as the tracks of a sequence; frames that were not answered have none."""
    by_stamp = {answer.stamp_ns: answer.outputs for answer in answers}
    none = {"count": 0, "box": np.zeros((0, 7)), "identity": np.zeros(0, np.int64), "score": np.zeros(0),
            "detection": np.zeros(0, np.int64)}  # fmt: skip
    frames = [by_stamp.get(stamp, none) for stamp in objects.stamps.tolist()]
    counts = [int(one["count"]) for one in frames]

    def column(name: str) -> torch.Tensor:
        return torch.cat([torch.from_numpy(np.asarray(o[name][:n])) for o, n in zip(frames, counts, strict=True)])

    taken, first = column("detection"), torch.repeat_interleave(objects.splits[:-1], torch.tensor(counts))
    pixels = None
    if objects.pixels is not None and len(objects.pixels):
        rows = (first + taken.clamp_min(0)).clamp_max(len(objects.pixels) - 1)
        pixels = objects.pixels[rows].where((taken >= 0)[:, None], torch.nan)
    return Objects(
        objects.stamps, splits_of(counts), column("box"), torch.full((sum(counts),), objects.classes.index(kind)),
        objects.classes, score=column("score"), identity=column("identity"), pixels=pixels,
    )  # fmt: skip


@dataclass(frozen=True)
class Scored:
    """A labelled sequence with its tracks, as the metrics read it."""

    name: str
    labels: Objects
    tracks: Objects


def kitti_loss(
    root: Path, names: Sequence[str], losses: Sequence[float], seeds: Sequence[int], kind: str = "Car"
) -> list[dict[str, Any]]:
    """Return HOTA and MOTA by share of frames lost, without and with ticks."""
    from mambats.formats.kitti import read_calibration, read_tracks
    from mambats.track.metrics.evaluation import evaluate
    from mambats.track.projection import Picture, in_picture

    read = {name: kitti_detections(root, name, kind) for name in names}
    labels = {name: from_kitti(read_tracks(root / "label_02" / f"{name}.txt", len(read[name]))) for name in names}
    cameras = {name: torch.from_numpy(read_calibration(root / "calib" / f"{name}.txt").projection(2)) for name in names}
    replays = {(name, ticks): kitti_replay(read[name], name, kind, ticks) for name in names for ticks in (False, True)}
    rows = list[dict[str, Any]]()
    for loss in losses:
        for ticks in (False, True):
            scores = list[tuple[float, float]]()
            for seed in seeds if loss else seeds[:1]:
                made = list[Scored]()
                for number, name in enumerate(names):
                    replay, objects = replays[name, ticks], read[name]
                    answers, _ = pushed(replay, lossy(replay.packets, loss, 1000 * seed + number))
                    tracks = in_picture(kitti_tracks(answers, objects, kind), Picture.of(objects, cameras[name]))
                    made.append(Scored(name, labels[name], replace(tracks, score=None)))  # TrackEval's scores alone
                found = evaluate(made, [kind])["TrackEval"]
                car = next(iter(found.values()))
                scores.append((100 * car["HOTA"], 100 * car["MOTA"]))
            hota, mota = np.array(scores).T
            rows.append({"recording": "kitti", "loss": loss, "ticks": ticks, "HOTA": float(hota.mean()),
                         "spread": float(hota.std()), "MOTA": float(mota.mean()), "seeds": len(hota)})  # fmt: skip
            print(rows[-1], flush=True)
    return rows


def main(words: Sequence[str] | None = None) -> dict[str, list[dict[str, Any]]]:
    """Read the command line."""
    parser = parser_of(__doc__ or "")
    parser.add_argument("--sequences", nargs="+", help="default: all, those with labels for the loss")
    parser.add_argument("--equal", type=int, choices=(0, 1), default=1, help="0 leaves the comparison out")
    parser.add_argument("--kind", choices=("Car", "Pedestrian", "Cyclist"), default="Car")
    given = parser.parse_args(words)
    root = settle(given) / "kitti_tracking"
    names = given.sequences or sorted(path.stem for path in (root / "det3d_pointrcnn" / given.kind).glob("*.txt"))
    equal = list[dict[str, Any]]()
    for name in names if given.equal else ():
        equal.append(equality(kitti_replay(kitti_detections(root, name, given.kind), name, given.kind)))
        print(equal[-1], flush=True)
    labelled = [name for name in names if (root / "label_02" / f"{name}.txt").is_file()]
    loss = kitti_loss(root, labelled, given.losses, range(given.seeds), given.kind)
    finish(given, {"equality": equal, "loss": loss})
    if given.picture:
        words_of = {False: "lost frames told of nothing", True: "carried on at ticks"}
        draw(
            {word: [r for r in loss if r["ticks"] is ticks] for ticks, word in words_of.items()}, "HOTA", given.picture
        )
    return {"equality": equal, "loss": loss}


if __name__ == "__main__":
    main()
