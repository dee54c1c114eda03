"""Where a sensor was that nobody measured: poses told from detections, and what their doubt adds to these."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from mambats.track.detector import Detections, Detector
from mambats.track.ego_bodies import Looks
from mambats.track.ego_motion import EgoEstimator
from mambats.track.objects import Objects
from mambats.track.tracker import Tracker

LEAST = 0.0  # log odds of a detection that the sensor's motion is told from
MOST = 40  # detections of a frame, the likeliest first: the filter costs their cube


@dataclass(frozen=True)
class EgoPath:
    """The sensor's way through F frames, told from each frame and those before it (online).

    Args:
        poses: x, y, z (0) and yaw in a world that begins with the first frame, shape (F, 4), as `Tracker.run` takes.
        spread: Covariance of the step since the frame before, x, y and yaw in the sensor's axes, shape (F, 3, 3).
        support: Standing bodies that each step rests on, shape (F,).
        stamps: Of the frames, nanoseconds, shape (F,) int64.
    """

    poses: Tensor
    spread: Tensor
    support: Tensor
    stamps: Tensor

    def first(self, frames: int) -> EgoPath:
        """Return the way through so many frames."""
        return EgoPath(self.poses[:frames], self.spread[:frames], self.support[:frames], self.stamps[:frames])

    def doubted(self, tracker: Tracker) -> Tracker:
        """Return a tracker whose detections are as far off as the sensor's own steps may be, too."""
        return doubted(tracker, [self])


def doubted(tracker: Tracker, paths: Sequence[EgoPath]) -> Tracker:
    """Return a tracker for `Tracker.run_many` whose detections are as far off as the sensors' own steps may be, too.

    Args:
        tracker: Of any one sequence.
        paths: Of each sequence, in the order in which they will be given.

    Example:
        histories = doubted(tracker, paths).run_many(sequences, [one.poses for one in paths])
    """
    made = copy.copy(tracker)
    made.detector = MovingDetector(tracker.detector, paths)
    return made


class MovingDetector(Detector):
    """A detector on a sensor whose steps are known with doubt: this is added to the covariance of what it sees.

    The doubt is of one step, not of the whole way: tracks drift along with the poses, and only what the sensor did
    since the frame before sets a track against a detection. That all detections of a frame share it is left out.

    Args:
        detector: That sees.
        paths: Of the sensor; several where it is asked for many sequences at once (`Tracker.run_many`).

    Raises:
        ValueError: If there is no path.
    """

    def __init__(self, detector: Detector, paths: Sequence[EgoPath]) -> None:
        super().__init__(detector.noise, detector.calibration, detector.trust, detector.least)
        if not paths:
            raise ValueError("there is no path: give one a sequence.")
        self.detector, self.paths = detector, list(paths)
        self._spread = torch.cat([one.spread for one in self.paths])

    def __call__(self, objects: Objects, added: Tensor | None = None) -> tuple[Detections, list[int]]:
        """Return the detections of all frames, or of some of one path (`LateFrames`); see `Detector`.

        Raises:
            ValueError: If frames are not all there are, and their stamps not those of the one path.
        """
        spread = self._steps(objects)
        made, splits = self.detector(objects) if added is None else self.detector(objects, added)
        lever = made.boxes.new_zeros(len(made.boxes), 7, 3)
        lever[:, 0, 0] = lever[:, 1, 1] = lever[:, 6, 2] = 1.0
        lever[:, 0, 2], lever[:, 1, 2] = -made.boxes[:, 1], made.boxes[:, 0]
        step = spread.to(made.boxes)[objects.frames[made.row]]
        return made._replace(covariance=made.covariance + lever @ step @ lever.mT), splits

    def unbounded(self) -> MovingDetector:
        """Return the same on a detector that looks at all detections."""
        return MovingDetector(self.detector.unbounded(), self.paths)

    def _steps(self, objects: Objects) -> Tensor:
        """Return the doubt of the step before each frame, shape (F, 3, 3)."""
        if len(objects) == len(self._spread):
            return self._spread
        if len(self.paths) == 1:
            stamps, asked = self.paths[0].stamps, objects.stamps.to(self.paths[0].stamps)
            place = torch.searchsorted(stamps, asked).clamp_max(len(stamps) - 1)
            if torch.equal(stamps[place], asked):
                return self._spread[place]
        raise ValueError(
            f"there are {len(objects)} frames and {[len(one.spread) for one in self.paths]} steps: needed one a frame "
            "of all sequences in their order, or frames whose stamps are among those of one path."
        )


def estimate_path(
    seen: Sequence[tuple[Objects, Detector]], estimator: EgoEstimator | None = None, least: float = LEAST
) -> EgoPath:
    """Return the sensor's way from the detections of one class or of several.

    Args:
        seen: Detections of one class each, over the same frames, and what they are worth.
        estimator: None is `EgoEstimator()`.
        least: Log odds below which a detection is not looked at.

    Raises:
        ValueError: If there is no class, frames differ, or as of `Detector`.

    Example:
        path = estimate_path([(detections, tracker.detector)])
        history = path.doubted(tracker).run(detections, path.poses)
    """
    if not seen or any(not torch.equal(one.stamps, seen[0][0].stamps) for one, _ in seen):
        raise ValueError(f"there are {len(seen)} classes: needed one or more, all over the same frames.")
    estimator = estimator or EgoEstimator()
    parts = [_looks(objects, detector, estimator, kind, least) for kind, (objects, detector) in enumerate(seen)]
    stamps, state = seen[0][0].stamps.tolist(), estimator.init_state()
    poses, spread, support = np.zeros((len(stamps), 4)), np.zeros((len(stamps), 3, 3)), np.zeros(len(stamps))
    for f, stamp in enumerate(stamps):
        elapsed = (stamp - stamps[f - 1]) / 1e9 if f else None
        looks = Looks(*(np.concatenate(column) for column in zip(*(part[f] for part in parts), strict=True)))
        state, motion = estimator.step(state, elapsed, looks)
        if elapsed is not None:
            ahead, aside, turn = motion.velocity * elapsed
            way = poses[f - 1, 3] + turn / 2
            poses[f, 0] = poses[f - 1, 0] + np.cos(way) * ahead - np.sin(way) * aside
            poses[f, 1] = poses[f - 1, 1] + np.sin(way) * ahead + np.cos(way) * aside
            poses[f, 3] = poses[f - 1, 3] + turn
            spread[f], support[f] = motion.covariance * elapsed**2, motion.support
    return EgoPath(torch.from_numpy(poses), torch.from_numpy(spread), torch.from_numpy(support), seen[0][0].stamps)


def _looks(objects: Objects, detector: Detector, estimator: EgoEstimator, kind: int, least: float) -> list[Looks]:
    """What an estimator reads of each frame of one class: the likeliest detections."""
    made, splits = detector(objects)
    speed, habit = estimator.habit(objects.classes[int(objects.labels[0])]) if len(objects.labels) else (1.0, 0.0)
    looks = list[Looks]()
    for begin, end in pairwise(splits):
        odds = made.odds[begin:end]
        rows = begin + odds.argsort(descending=True)[:MOST]
        rows = rows[made.odds[rows] >= least]
        place = made.boxes[rows][:, [0, 1, 6]].numpy()
        noise = made.covariance[rows][:, [0, 1, 6]][:, :, [0, 1, 6]].numpy()
        count = len(rows)
        looks.append(Looks(place, noise, np.full(count, speed), np.full(count, habit), np.full(count, kind, np.int64)))
    return looks
