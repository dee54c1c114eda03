"""A tracker whose noise, freedom and existence are set by a noise model, track by track."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, NoReturn

import torch
from torch import Tensor

from mambats.checkpoint import load_task
from mambats.protocols import State
from mambats.track.association import Matches
from mambats.track.detector import Detections, Detector
from mambats.track.ego import to_world
from mambats.track.history import Frame
from mambats.track.initiator import Initiator
from mambats.track.learned.box import SIZE, AspectNoise, box_features
from mambats.track.learned.history import CalibratedHistory
from mambats.track.learned.model import InnovationNoise, Memory, Seen
from mambats.track.learned.student import gaussian_nis
from mambats.track.motion import ConstantVelocity
from mambats.track.objects import Objects
from mambats.track.predictor import Predictor
from mambats.track.tracker import Tracker
from mambats.track.tracks import Tracks
from mambats.track.updater import Told


def calibrated(tracker: Tracker, checkpoint: Path, kind: str) -> CalibratedTracker:
    """Return a tracker with the noise that a checkpoint of `NoiseTask` holds.

    Args:
        tracker: Of a recipe.
        checkpoint: As `mambats fit` wrote it.
        kind: Class that it follows.

    Raises:
        CheckpointError: If the file is missing, damaged or of another program.
        ValueError: If it holds another model, or one of other classes.
    """
    task = load_task(checkpoint)
    model = getattr(task, "model", None)
    if not isinstance(model, InnovationNoise):
        raise ValueError(f"{checkpoint}: holds a {type(task).__name__}, no noise of tracks: give one of a NoiseTask.")
    return CalibratedTracker(tracker, model, kind)


class CalibratedState(NamedTuple):
    """Tracks as of a moment, and what is remembered of each.

    Args:
        tracks: Confirmed or not; their existence holds what the model added.
        stamp: Nanoseconds; None before the first frame.
        identity: The next new one.
        memory: Rows as of the tracks.
        added: To the log odds of existence of each, shape (T,).
        rate: As of `TrackerState`.
    """

    tracks: Tracks
    stamp: int | None
    identity: int
    memory: Memory
    added: Tensor
    rate: Tensor | None = None


class CalibratedTracker(Tracker):
    """A tracker of one class with the noise of a model; association, births and deaths are the given tracker's own.

    What updates say (`Told`) holds the innovation's covariance, and as `nis` the chi-square value that is as far out as
    the residual under the Student's t that was said: chi-square with seven degrees of freedom where the model is right.
    Tracks of one scene at a time.

    Args:
        tracker: Whose parts to take; its noise, motion, first speeds and score calibration give way to the model's.
        model: Fitted.
        kind: Name of the class.

    Raises:
        ValueError: If the model does not know the class.
    """

    def __init__(self, tracker: Tracker, model: InnovationNoise, kind: str) -> None:
        if kind not in model.classes:
            raise ValueError(f"the noise was learned for {', '.join(model.classes)}, not for {kind!r}: train one.")
        self.tracker, self.model, self.kind = tracker, model.eval().requires_grad_(False), kind
        number = model.classes.index(kind)
        base = {name: one.detach()[number] for name, one in model.base.items()}
        self._settings = model.settings(torch.tensor([number]))
        self._passed: list[Memory] | None = None  # what was said at each frame of a run
        noise, own = AspectNoise(base["weights"].tolist(), base["lower"].tolist()), tracker.detector
        walk = base["drive"].exp().tolist()
        start = tracker.initiator
        super().__init__(
            Detector(noise, model.calibration(number), own.trust, own.least),
            Predictor(ConstantVelocity(walk[:3], walk[3:])),
            tracker.associator,
            tracker.updater,
            Initiator(base["speed"].exp().tolist(), start.least, start.doubt),
            tracker.deleter,
            tracker.confirmer,
            tracker.base_rate,
        )

    def init_state(self) -> CalibratedState:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the state before the first frame."""
        tracks = Tracks.none(self.predictor.size)
        rate = None if self.base_rate is None else self.base_rate.init_state()
        return CalibratedState(tracks, None, 0, self.model.init_state(0), tracks.existence, rate)

    def run(self, objects: Objects, poses: Tensor | None = None, added: Tensor | None = None) -> CalibratedHistory:
        """Track a sequence, see `Tracker.run`; with hindsight the noise is that which was said at each frame."""
        self._passed = passed = list[Memory]()
        try:
            history = super().run(objects, poses, added)
        finally:
            self._passed = None
        return CalibratedHistory(history, self.model, self._settings, passed)

    @torch.no_grad()
    def step(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, state: CalibratedState, stamp: int, detections: Detections, pose: Tensor | None = None
    ) -> tuple[CalibratedState, Frame]:
        """Take the detections of a frame; see `Tracker.step`."""
        elapsed = 0.0 if state.stamp is None else (stamp - state.stamp) / 1e9
        # Where are the known ones now, under the noise that was said of each, and where is what was seen?
        expected = state.tracks if state.stamp is None else self._moved(state, elapsed)
        expected = expected._replace(existence=expected.existence - state.added)
        seen = detections if pose is None else to_world(detections, pose.expand(len(detections.row), -1))
        about = box_features(detections.boxes, detections.odds)
        seen, rate = self.rated(seen, state.rate, elapsed)  # how far boxes are off, the rate does not say
        # Which detection is of which, and what are they after it?
        matches = self.associator(expected, seen)
        weighed = self._weighed(seen, about, matches, state.memory)
        known, told = self.updater(expected, weighed, matches, elapsed)
        known = known._replace(existence=known.existence + state.added)
        # Who goes, who comes?
        kept = self.deleter(known, pose)
        born = self.initiator(seen, matches, state.identity)
        memory, added = self._carried(state, kept, len(born.identity))
        tracks = Tracks.joined([known.take(kept), born])
        # What does the frame tell of noise and of existence from here on?
        shown, hit = _shown(tracks, seen, about, told), tracks.misses == 0
        after = self.model.step(shown, max(elapsed, 1e-9) / self.model.period, hit, self._settings, memory)
        later = torch.where(hit, after.said[:, -1], added)
        tracks = self.as_scored(tracks._replace(existence=tracks.existence - added + later), rate)
        frame = Frame(stamp, tracks, self.confirmer(tracks), self.as_said(told, seen, matches, state.memory), pose)
        if self._passed is not None:
            self._passed.append(after._replace(encoded=None))
        return CalibratedState(tracks, stamp, state.identity + len(born.identity), after, later, rate), frame

    def advance(
        self,
        tracks: Tracks,
        elapsed: float | Tensor | None,
        detections: Detections,
        identity: int | Tensor,
        pose: Tensor | None = None,
    ) -> NoReturn:
        """Refuse: memories are of one scene.

        Raises:
            ValueError: Always.
        """
        raise ValueError("a tracker with calibrated noise follows one scene: call `run` for each.")

    def _moved(self, state: CalibratedState, elapsed: float) -> Tracks:
        """The tracks after a time, with the process noise that was said in place of the motion's own."""
        moved = self.predictor(state.tracks, elapsed)
        own = self.predictor.step(state.tracks.mean, elapsed)[1]
        said = self.model.process(elapsed, self._settings, state.memory)
        return moved._replace(covariance=moved.covariance + (said - own))

    def _weighed(self, seen: Detections, about: Tensor, matches: Matches, memory: Memory) -> Detections:
        """The detections with the covariance that was said for the tracks that take them."""
        if not len(matches.track):
            return seen
        rows, mine = matches.detection, Memory(None, memory.said[matches.track], memory.level[matches.track])
        said = self.model.sensor(about[rows], seen.boxes[rows, 6], self._settings, mine)
        return seen._replace(covariance=seen.covariance.index_copy(0, rows, said))

    def _carried(self, state: CalibratedState, kept: Tensor, born: int) -> tuple[Memory, Tensor]:
        """What is remembered of the tracks that stay, and nothing of the new ones behind them."""
        if not born and bool(kept.all()):
            return state.memory, state.added
        rows, new = torch.nonzero(kept)[:, 0], self.model.init_state(born)
        memory = Memory(*(_joined(old, fresh, rows) for old, fresh in zip(state.memory, new, strict=True)))
        return memory, torch.cat([state.added[rows], state.added.new_zeros(born)])

    def as_said(self, told: Told, seen: Detections, matches: Matches, memory: Memory) -> Told:
        """Return what updates say, with NIS as chi-square has it, from memories as of before them."""
        if not len(told.row):
            return told
        owner = torch.empty_like(seen.row).index_copy_(0, matches.detection, matches.track)
        freedom = self.model.freedom(self._settings, memory)[owner[torch.searchsorted(seen.row, told.row)]]
        return told._replace(nis=gaussian_nis(told.nis, freedom, SIZE))


def _shown(tracks: Tracks, seen: Detections, about: Tensor, told: Told) -> Seen:
    """What the model reads, a row a track: its innovation if it had one, else nothing."""
    count, pairs = len(seen.row), len(told.row)
    if not count:
        nothing = tracks.mean.new_zeros(len(tracks.identity), SIZE)
        one = torch.eye(SIZE, dtype=nothing.dtype).expand(len(nothing), -1, -1)
        return Seen(nothing, one, nothing[:, 0], nothing[:, 0], about.new_zeros(len(nothing), 9), tracks.hits)
    # Rows of detections rise, so that what a track took last is looked up among those of the frame.
    here = torch.searchsorted(seen.row, tracks.detection).clamp_max_(count - 1)
    of_pair = torch.full_like(seen.row, pairs)
    of_pair[torch.searchsorted(seen.row, told.row)] = torch.arange(pairs)
    pair = of_pair[here]
    residual = torch.cat([told.residual, told.residual.new_zeros(1, SIZE)])[pair]
    covariance = torch.cat([told.covariance, torch.eye(SIZE, dtype=residual.dtype)[None]])[pair]
    nis = torch.cat([told.nis, told.nis.new_zeros(1)])[pair]
    return Seen(residual, covariance, nis, seen.boxes[here, 6], about[here], tracks.hits)


def _joined(old: State, new: State, kept: Tensor) -> State:
    """Trees of tensors: the rows kept of one, those of another behind them."""
    if old is None:
        return None
    if isinstance(old, Tensor):
        return torch.cat([old.index_select(0, kept), new])
    parts = [_joined(a, b, kept) for a, b in zip(old, new, strict=True)]
    return type(old)(*parts) if hasattr(old, "_fields") else tuple(parts)
