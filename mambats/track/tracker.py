"""Tracking by detection, one frame after another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from mambats.track.association import Associator
from mambats.track.base_rate import BaseRate
from mambats.track.batch import follow, lined_up
from mambats.track.detector import Detections, Detector
from mambats.track.ego import check_poses, to_world
from mambats.track.history import Frame, History
from mambats.track.initiator import Initiator
from mambats.track.life import Confirmer, Deleter
from mambats.track.objects import Objects
from mambats.track.predictor import Predictor
from mambats.track.tracks import Tracks
from mambats.track.updater import Told, Updater


class TrackerState(NamedTuple):
    """Tracks as of a moment.

    Args:
        tracks: Confirmed or not.
        stamp: Nanoseconds; None before the first frame.
        identity: The next new one.
        rate: Counts of true and false detections so far, shape (1, 2); None where the tracker has no base rate.
    """

    tracks: Tracks
    stamp: int | None
    identity: int
    rate: Tensor | None = None


class Tracker:
    """Follows bodies of one class through frames of detections.

    Args:
        detector: What detections are worth.
        predictor: Where tracks are at the next frame.
        associator: Who takes which detection.
        updater: What a track is after it took one.
        initiator: Which detections begin a track.
        deleter: Which tracks end.
        confirmer: Which tracks are told of.
        base_rate: How often detections of this sequence are true; None takes them as they were in training.
    """

    def __init__(
        self,
        detector: Detector,
        predictor: Predictor,
        associator: Associator,
        updater: Updater,
        initiator: Initiator,
        deleter: Deleter,
        confirmer: Confirmer,
        base_rate: BaseRate | None = None,
    ) -> None:
        self.detector, self.predictor, self.associator, self.updater = detector, predictor, associator, updater
        self.initiator, self.deleter, self.confirmer, self.base_rate = initiator, deleter, confirmer, base_rate

    def init_state(self) -> TrackerState:
        """Return the state before the first frame."""
        rate = None if self.base_rate is None else self.base_rate.init_state()
        return TrackerState(Tracks.none(self.predictor.size), None, 0, rate)

    def step(
        self, state: TrackerState, stamp: int, detections: Detections, pose: Tensor | None = None
    ) -> tuple[TrackerState, Frame]:
        """Take the detections of a frame.

        Args:
            state: After the frame before.
            stamp: Of this one, nanoseconds, later.
            detections: As `detector` gives them; may be none.
            pose: x, y, z and yaw of the sensor in the world, shape (4,); None follows from its seat.

        Returns:
            The state after it, and all that is known at this moment, in the world.

        Raises:
            ValueError: If the stamp is not later than the last.
        """
        elapsed = None if state.stamp is None else (stamp - state.stamp) / 1e9
        seen, rate = self.rated(detections, state.rate, elapsed or 0.0)
        tracks, told, born = self.advance(state.tracks, elapsed, seen, state.identity, pose)
        tracks = self.as_scored(tracks, rate)
        frame = Frame(stamp, tracks, self.confirmer(tracks), told, pose)
        return TrackerState(tracks, stamp, state.identity + len(born.identity), rate), frame

    def rated(
        self, detections: Detections, rate: Tensor | None, elapsed: float | Tensor
    ) -> tuple[Detections, Tensor | None]:
        """Return detections of a frame with log odds at the rate at which they are true here, and the counts after it.

        Args:
            detections: As `detector` gives them; may be none.
            rate: Counts after the frame before, shape (1, 2), of many scenes (S, 2); None without a base rate.
            elapsed: Seconds since, of all scenes or of each (S,).
        """
        if self.base_rate is None or rate is None:
            return detections, rate
        odds, rate = self.base_rate(detections.odds, rate, elapsed, detections.scene)
        return detections._replace(odds=odds), rate

    def as_scored(self, tracks: Tracks, rate: Tensor | None) -> Tracks:
        """Return tracks after a frame with the log odds of the detections they took as their scores alone say.

        Existence holds the base rate; a track's score, which adds the two, is to hold it once (`telling.confidence`).
        """
        if self.base_rate is None or rate is None:
            return tracks
        added = self.base_rate.added(rate)
        each = added if tracks.scene is None else added[tracks.scene]
        return tracks._replace(odds=torch.where(tracks.misses == 0, tracks.odds - each, tracks.odds))

    def advance(
        self,
        tracks: Tracks,
        elapsed: float | Tensor | None,
        detections: Detections,
        identity: int | Tensor,
        pose: Tensor | None = None,
    ) -> tuple[Tracks, Told, Tracks]:
        """Take the detections of a frame of one scene, or of one frame of each of S scenes at once.

        Args:
            tracks: Before.
            elapsed: Seconds since, of all, or of each track (T,); None at the first frame.
            detections: As `detector` gives them; may be none.
            identity: The next new one; of many scenes (S,).
            pose: Of the sensor in the world, shape (4,); of many scenes (S, 4); None follows from its seat.

        Returns:
            The tracks after it, what the updates say, and those of the tracks that are new.
        """
        # Where are the known ones now, and where is what was seen?
        expected = tracks if elapsed is None else self.predictor(tracks, elapsed)
        seen = detections if pose is None else to_world(detections, _of_rows(pose, detections.scene, detections.row))
        # Which detection is of which, and what are they after it?
        matches = self.associator(expected, seen)
        known, told = self.updater(expected, seen, matches, 0.0 if elapsed is None else elapsed)
        # Who goes, who comes?
        gone_from = None if pose is None else _of_rows(pose, known.scene, known.identity)
        stayed = known.take(self.deleter(known, gone_from))
        born = self.initiator(seen, matches, identity)
        return Tracks.joined([stayed, born]), told, born

    @torch.no_grad()
    def run_many(
        self,
        sequences: Sequence[Objects],
        poses: Sequence[Tensor] | None = None,
        added: Sequence[Tensor] | None = None,
        device: torch.device | str = "cpu",
    ) -> list[History]:
        """Track many sequences at once, each as `run` does alone: frame by frame, all scenes' tracks in one table.

        Args:
            sequences: As of `run`; they may differ in length and in their stamps.
            poses: Of each, as of `run`.
            added: Of each, as of `run`.
            device: That the steps are done on. Histories come back to the CPU.

        Returns:
            A history a sequence.

        Raises:
            ValueError: As of `run`; if some sequences have scores and others none; if there is not one of `poses` or
                `added` a sequence.
        """
        for name, given in (("poses", poses), ("added", added)):
            if given is not None and len(given) != len(sequences):
                raise ValueError(f"there are {len(sequences)} sequences and {len(given)} {name}: give one a sequence.")
        if not sequences:
            return []
        # One by one: a tracker with steps of its own, and sequences that have no frame to line up.
        if type(self).step is not Tracker.step or not any(len(one) for one in sequences):
            lists = [[None] * len(sequences) if part is None else part for part in (poses, added)]
            return [self.run(*given) for given in zip(sequences, *lists, strict=True)]
        scenes = lined_up(self.detector, sequences, poses, added, torch.device(device))
        return [History(frames, self.predictor) for frames in follow(self, scenes)]

    @torch.no_grad()
    def run(self, objects: Objects, poses: Tensor | None = None, added: Tensor | None = None) -> History:
        """Track a sequence of detections of one class.

        Args:
            objects: Detections as the sensor sees them, frame behind frame; a frame may be empty.
            poses: x, y, z and yaw of the sensor in the world, shape (F, 4), where they are known.
            added: To the log odds of the detections by another sensor, shape (N,), as `CameraEvidence` gives it.

        Returns:
            All that was known frame by frame; `mambats.track.tell` makes tracks of it, online or with hindsight.

        Raises:
            ValueError: If a box or a score is not finite, or there is not one pose a frame.
        """
        detections, splits = self.detector(objects, added)
        if poses is not None:
            poses = check_poses(poses, len(objects))
        state, frames = self.init_state(), list[Frame]()
        counts = [after - before for before, after in pairwise(splits)]
        at = [None] * len(objects) if poses is None else poses.unbind()
        for stamp, seen, pose in zip(objects.stamps.tolist(), detections.split(counts), at, strict=True):
            state, frame = self.step(state, stamp, seen, pose)
            frames.append(frame)
        return History(frames, self.predictor)


def _of_rows(pose: Tensor, scene: Tensor | None, rows: Tensor) -> Tensor:
    """Return the pose of each row (N, 4): that of its scene, or of all."""
    return pose.expand(len(rows), -1) if scene is None else pose[scene]
