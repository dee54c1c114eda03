"""What a picture of tracks shows: boxes, identities and covariances as plain arrays, of one class or several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mambats.track.history import History
from mambats.track.objects import Objects

Numbers = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scene:
    """Tracks and detections of a sequence of F frames, as the sensor saw them.

    Args:
        name: Of the sequence.
        mode: What was known when it was told: `online`, `fixed-lag 2 s`, `offline`.
        classes: Names.
        stamps: Nanoseconds, shape (F,).
        frame: Of each of the N boxes of tracks, shape (N,).
        boxes: Shape (N, 7), see `mambats.track.BOX`.
        identity: Shape (N,).
        label: Index into `classes`, shape (N,).
        coasting: Whether it was told without a detection, shape (N,) bool.
        covariance: Of boxes, shape (N, 7, 7), or None.
        seen_frame: Of each of the D detections, shape (D,).
        seen: Boxes detected, shape (D, 7).
        nis: Normalised innovation squared of the updates, by class, each (M,).
        poses: x, y, z, yaw of the sensor in the world, shape (F, 4); None where it is not known to move.
        pixels: Boxes of the tracks in the picture, left, top, right, bottom, shape (N, 4), or None.
    """

    name: str
    mode: str
    classes: tuple[str, ...]
    stamps: Whole
    frame: Whole
    boxes: Numbers
    identity: Whole
    label: Whole
    coasting: npt.NDArray[np.bool_]
    covariance: Numbers | None
    seen_frame: Whole
    seen: Numbers
    nis: dict[str, Numbers]
    poses: Numbers | None = None
    pixels: Numbers | None = None

    @property
    def seconds(self) -> Numbers:
        """Time of each frame since the first, shape (F,)."""
        return (self.stamps - self.stamps[0]) / 1e9 if len(self.stamps) else np.zeros(0)

    @cached_property
    def lives(self) -> list[Whole]:
        """Rows of every track in the order of time, the tracks in the order of birth."""
        keys = self.label * (int(self.identity.max(initial=0)) + 1) + self.identity
        order = np.lexsort((self.frame, keys))
        parts = np.split(order, np.flatnonzero(np.diff(keys[order])) + 1) if len(order) else []
        return sorted(parts, key=lambda part: (self.frame[part[0]], self.label[part[0]], self.identity[part[0]]))

    @cached_property
    def turn(self) -> Whole:
        """Of each box which track in the order of birth it is of, shape (N,): what colours go by."""
        made = np.zeros(len(self.frame), dtype=np.int64)
        for number, life in enumerate(self.lives):
            made[life] = number
        return made

    @property
    def heading(self) -> str:
        """Name, classes and mode in words."""
        return f"{self.name}: {', '.join(self.classes)}; {self.mode}"

    def word(self, row: int) -> str:
        """Return what a track is called: its id, behind the beginning of its class where there are several."""
        return f"{_short(self.classes, int(self.label[row]))}{self.identity[row]}"


def scene_of(
    tracks: Objects, detections: Objects, mode: str, *, name: str = "sequence", history: History | None = None
) -> Scene:
    """Return a scene of one class.

    Args:
        tracks: As `tell` gives them.
        detections: That the tracker ran on.
        mode: What was known: `online`, `fixed-lag 2 s`, `offline`.
        name: Of the sequence.
        history: Of the run: says which boxes are of coasting tracks, how consistent updates were, and where the sensor
            stood. None leaves these out.

    Raises:
        ValueError: If tracks have no identity, or frames differ.
    """
    if tracks.identity is None:
        raise ValueError("tracks have no identity: give what `tell` returns, or tracks that were read with their ids.")
    if len(tracks) != len(detections):
        raise ValueError(f"tracks have {len(tracks)} frames, detections {len(detections)}: give those of one sequence.")
    used = sorted(set(tracks.labels.tolist()) | set(detections.labels.tolist()))
    place = {label: number for number, label in enumerate(used)}
    classes = tuple(tracks.classes[label] for label in used)
    poses = None if history is None else history.poses()
    return Scene(
        name=name,
        mode=mode,
        classes=classes,
        stamps=_whole(tracks.stamps),
        frame=_whole(tracks.frames),
        boxes=_real(tracks.boxes),
        identity=_whole(tracks.identity),
        label=np.array([place[one] for one in tracks.labels.tolist()], dtype=np.int64),
        coasting=np.zeros(len(tracks.boxes), dtype=np.bool_) if history is None else _coasting(tracks, history),
        covariance=None if tracks.covariance is None else _real(tracks.covariance),
        seen_frame=_whole(detections.frames),
        seen=_real(detections.boxes),
        nis={} if history is None or not len(tracks) else {", ".join(classes): _real(history.consistency().nis)},
        poses=None if poses is None else _real(poses),
        pixels=None if tracks.pixels is None else _real(tracks.pixels),
    )


def joined(scenes: Sequence[Scene]) -> Scene:
    """Return one scene of several classes of the same frames; identities stay, classes tell them apart.

    Raises:
        ValueError: If there is none, or their frames differ.
    """
    first = scenes[0] if scenes else None
    if first is None or any(not np.array_equal(one.stamps, first.stamps) for one in scenes):
        raise ValueError(
            f"{len(scenes)} scenes with their own frames cannot be joined: give one or more of one sequence."
        )
    classes = tuple(dict.fromkeys(name for one in scenes for name in one.classes))
    labels = [np.array([classes.index(one.classes[k]) for k in one.label], dtype=np.int64) for one in scenes]
    return replace(
        first,
        classes=classes,
        label=np.concatenate(labels),
        covariance=_all_of([one.covariance for one in scenes]),
        pixels=_all_of([one.pixels for one in scenes]),
        nis={name: values for one in scenes for name, values in one.nis.items()},
        **{
            part: np.concatenate([getattr(one, part) for one in scenes])
            for part in ("frame", "boxes", "identity", "coasting", "seen_frame", "seen")
        },
    )


def _all_of(parts: list[Numbers | None]) -> Numbers | None:
    """Return parts behind one another, None where one is missing."""
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None


def _coasting(tracks: Objects, history: History) -> npt.NDArray[np.bool_]:
    """Say which told boxes are of tracks that took no detection at that frame."""
    length = len(history.stamps) + 1
    known = history.tracks.identity * length + history.frame
    order = torch.argsort(known)
    told = (tracks.identity if tracks.identity is not None else tracks.labels) * length + tracks.frames
    at = torch.searchsorted(known[order], told).clamp_max(max(len(known) - 1, 0))
    return (history.tracks.misses[order[at]] > 0).numpy() if len(known) else np.zeros(len(told), dtype=np.bool_)


def _short(classes: tuple[str, ...], label: int) -> str:
    """The shortest beginning of a class's name that no other has; nothing where there is one class."""
    if len(classes) < 2:
        return ""
    name, others = classes[label], [other for k, other in enumerate(classes) if k != label]
    ends = (k for k in range(1, len(name)) if not any(other[:k] == name[:k] for other in others))
    return name[: next(ends, len(name))] + " "


def _whole(values: Tensor) -> Whole:
    return values.detach().cpu().numpy().astype(np.int64)


def _real(values: Tensor) -> Numbers:
    return values.detach().cpu().double().numpy()
