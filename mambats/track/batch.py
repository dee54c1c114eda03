"""Many scenes followed as one: their tracks in one table, a frame of each at a time, on any device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from mambats.track.detector import Detections, Detector
from mambats.track.ego import check_poses
from mambats.track.history import Frames
from mambats.track.objects import Objects
from mambats.track.tracks import Tracks
from mambats.track.updater import Told

if TYPE_CHECKING:
    from mambats.track.tracker import Tracker


class Scenes(NamedTuple):
    """S scenes of up to F frames, lined up by their frames.

    Args:
        frames: Detections of all scenes, frame by frame; rows count through all of them.
        stamps: Of each scene's frames, nanoseconds, on the CPU.
        lengths: Frames of each scene, shape (S,) int64, on the CPU.
        gaps: Seconds since the frame before, shape (F, S) float64, on the CPU; 0 where there is none.
        poses: Shape (F, S, 4), or None.
        first: Row of each scene's first detection, shape (S,) int64.
        scene: Of every row, shape (N,) int64.
    """

    frames: list[Detections]
    stamps: list[Tensor]
    lengths: Tensor
    gaps: Tensor
    poses: Tensor | None
    first: Tensor
    scene: Tensor

    def elapsed(self, frame: int, tracks: Tracks) -> float | Tensor | None:
        """Return the seconds before a frame: one number where all scenes waited as long, else of each track."""
        if not frame:
            return None
        gaps = self.gaps[frame]
        waits = gaps[self.lengths > frame].unique()
        return float(waits) if len(waits) == 1 else gaps.to(tracks.mean)[tracks.scene]


def lined_up(
    detector: Detector,
    sequences: Sequence[Objects],
    poses: Sequence[Tensor] | None,
    added: Sequence[Tensor] | None,
    device: torch.device,
) -> Scenes:
    """Return the detections of all sequences, frame by frame and in each scene by scene."""
    lengths = torch.tensor([len(one) for one in sequences])
    rows = torch.tensor([len(one.boxes) for one in sequences])
    whole = _joined(sequences, device)
    found, splits = detector(whole, None if added is None else torch.cat(list(added)).to(device))
    scene = torch.repeat_interleave(torch.arange(len(lengths)), rows).to(device)
    begins = (lengths.cumsum(0) - lengths).to(device)
    counts = torch.tensor(splits, device=device).diff()
    frame = torch.repeat_interleave(torch.arange(len(counts), device=device), counts) - begins[scene[found.row]]
    order = torch.argsort(frame * len(lengths) + scene[found.row], stable=True)
    most = int(lengths.max())
    ordered = found.take(order)._replace(scene=scene[found.row[order]])
    gaps = torch.zeros(most, len(lengths), dtype=torch.float64)
    turns = None if poses is None else torch.zeros(most, len(lengths), 4, dtype=torch.float64)
    for s, one in enumerate(sequences):
        gaps[1 : len(one), s] = one.stamps.diff().cpu().double() / 1e9
        if poses is not None and turns is not None:
            turns[: len(one), s] = check_poses(poses[s], len(one)).cpu()
    return Scenes(
        ordered.split(torch.bincount(frame, minlength=most).tolist()),
        [one.stamps.cpu() for one in sequences],
        lengths,
        gaps,
        None if turns is None else turns.to(device),
        (rows.cumsum(0) - rows).to(device),
        scene,
    )


def _joined(sequences: Sequence[Objects], device: torch.device) -> Objects:
    """Return the frames of all sequences behind one another, on a device; their stamps only count."""
    counts = torch.cat([one.splits.diff() for one in sequences]).to(device)
    parts = dict[str, Tensor | None]()
    for name in ("score", "covariance"):
        found = [part for one in sequences if (part := getattr(one, name)) is not None]
        if len(found) not in (0, len(sequences)):
            raise ValueError(f"{len(found)} of {len(sequences)} sequences have a {name}: give it for all or for none.")
        parts[name] = torch.cat(found).to(device) if found else None
    boxes = torch.cat([one.boxes for one in sequences]).to(device)
    return Objects(
        stamps=torch.arange(len(counts), device=counts.device),
        splits=torch.nn.functional.pad(counts.cumsum(0), (1, 0)),
        boxes=boxes,
        labels=torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device),
        classes=sequences[0].classes,
        score=parts["score"],
        covariance=parts["covariance"],
    )


def follow(tracker: Tracker, scenes: Scenes) -> list[Frames]:
    """Run a tracker through all scenes at once; return what was known of each, on the CPU."""
    count, device = len(scenes.lengths), scenes.scene.device
    nothing = Tracks.none(tracker.predictor.size, device)
    tracks, identity = nothing._replace(scene=nothing.identity), torch.zeros(count, dtype=torch.int64, device=device)
    lengths = scenes.lengths.to(device)
    rate = None if tracker.base_rate is None else tracker.base_rate.init_state(count, device)
    made = list[tuple[Tracks, Tensor, Told]]()
    for f, seen in enumerate(scenes.frames):
        if tracks.scene is not None and bool((scenes.lengths == f).any()):
            tracks = tracks.take(lengths[tracks.scene] > f)
        pose = None if scenes.poses is None else scenes.poses[f]
        seen, rate = tracker.rated(seen, rate, scenes.gaps[f])
        tracks, told, born = tracker.advance(tracks, scenes.elapsed(f, tracks), seen, identity, pose)
        tracks = tracker.as_scored(tracks, rate)
        if born.scene is not None:
            identity = identity + born.scene.bincount(minlength=count)
        made.append((tracks, tracker.confirmer(tracks), told))
    return _parted(made, scenes)


def _parted(made: list[tuple[Tracks, Tensor, Told]], scenes: Scenes) -> list[Frames]:
    """Return the frames of each scene out of those of all."""
    tracks = Tracks.joined([one[0] for one in made])
    told = Told(*(torch.cat(parts) for parts in zip(*(one[2] for one in made), strict=True)))
    owner = scenes.scene[:0] if tracks.scene is None else tracks.scene
    order, counts = _by_scene(owner, [len(one[0].identity) for one in made], len(scenes.lengths))
    tracks, shown = tracks.take(order), torch.cat([one[1] for one in made])[order].cpu()
    columns = [part.cpu() for part in tracks._replace(detection=tracks.detection - scenes.first[owner[order]])[:-1]]
    of_told = scenes.scene[told.row]
    order, updates = _by_scene(of_told, [len(one[2].row) for one in made], len(scenes.lengths))
    told = [part[order].cpu() for part in told._replace(row=told.row - scenes.first[of_told])]
    some, others = counts.sum(1).tolist(), updates.sum(1).tolist()
    parts = zip(shown.split(some), *(part.split(some) for part in columns), strict=True)
    says = zip(*(part.split(others) for part in told), strict=True)
    frames = list[Frames]()
    for s, ((flag, *mine), own) in enumerate(zip(parts, says, strict=True)):
        last = int(scenes.lengths[s])
        number = torch.stack([counts[s], updates[s]], -1)[:last]
        poses = None if scenes.poses is None else scenes.poses[:last, s].cpu()
        frames.append(Frames(scenes.stamps[s], Tracks(*mine), flag, Told(*own), number, poses))
    return frames


def _by_scene(scene: Tensor, lengths: list[int], count: int) -> tuple[Tensor, Tensor]:
    """Return the order of rows by scene, as they are in each, and how many each has a frame (S, F), on the CPU."""
    frame = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).to(scene.device)
    counts = torch.bincount(scene * len(lengths) + frame, minlength=count * len(lengths))
    return torch.argsort(scene, stable=True), counts.reshape(count, len(lengths)).cpu()
