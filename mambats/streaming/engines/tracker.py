"""A tracker behind the contract of `mambats.streaming.engine`: packets are frames of detections, answers tracks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mambats.recipe import describe
from mambats.streaming.engine import Int64Array, Outputs, State, StepEvent
from mambats.streaming.engines.facts import fingerprint
from mambats.streaming.engines.frame import DETECTIONS, DetectionFrame, unpack_frame, width_of
from mambats.track.detector import Detections
from mambats.track.heading import wrapped
from mambats.track.objects import Objects
from mambats.track.telling import confidence
from mambats.track.tracker import Tracker, TrackerState
from mambats.track.tracks import SEEN, Tracks

#: Asks for the tracks at a tick, carried on to it from the last frame.
QUERY = "query"
CLOCK, LAST, BEGUN, COUNT, NEXT, REFUSED = "clock_ns", "last_ns", "begun", "count", "next", "refused"
#: Of a tracker with a base rate: what it counted of true and false detections.
RATE = "rate"
_OWN = (CLOCK, LAST, BEGUN, COUNT, NEXT, REFUSED)


class TrackerEngine:
    """Follow bodies through frames of detections that come one by one, for sensors side by side.

    The numbers are those of `Tracker.run` and `tell(..., "online")` on boxes of float32. Tracks stand in arrays with
    room for a stated number of them, so that a stream can go back to a state, save it and go on from it; of more, those
    that most likely exist are kept, and the others are counted as `refused`.

    Answers, one a frame or tick, T the room: `count` (), and of the first so many rows `identity` (T,), `box` (T, 7)
    and `covariance` (T, 7, 7) in metres and rad, `velocity` (T, 3) in m/s, `score` (T,), `detection` (T,) the row of
    the packet that each took (-1 where it took none), `silent` (T,) seconds since the last one; `refused` () so far.
    An event of the empty stream `query` answers with the confirmed tracks of the last frame, moved to that moment.

    Args:
        tracker: Its steps are taken in float64 on the CPU.
        most: Detections that a packet has room for, see `pack_frame`.
        room: Tracks that are kept.
        tick_ns: The runner asks at whole multiples of it, if it is told so (`Policy.tick_ns`); None never.
        kind: Name of the class that is followed, for whoever chooses detections; None takes what comes.

    Raises:
        ValueError: If there is no room.
    """

    def __init__(
        self, tracker: Tracker, most: int = 32, room: int = 64, tick_ns: int | None = None, kind: str | None = None
    ) -> None:
        if most < 1 or room < 1:
            raise ValueError(f"most is {most}, room {room}: need a place for 1 detection and 1 track or more.")
        self.tracker, self.most, self.room, self.tick_ns, self.kind = tracker, most, room, tick_ns, kind
        self.streams: Mapping[str, int] = {DETECTIONS: width_of(most), QUERY: 0}
        self.outputs: Mapping[str, tuple[int, ...]] = {
            "count": (), "identity": (room,), "box": (room, SEEN), "velocity": (room, 3),
            "covariance": (room, SEEN, SEEN), "score": (room,), "detection": (room,), "silent": (room,), "refused": (),
        }  # fmt: skip
        facts = {"tracker": describe(tracker), "most": most, "room": room, "tick_ns": tick_ns}
        self.identity = fingerprint(facts, _weights(tracker))
        self._like = tracker.init_state()
        self._rated = tracker.base_rate is not None
        if self._rated:
            self._like = self._like._replace(rate=None)  # all other leaves have a row a track

    def init_state(self, rows: int) -> State:
        """Return the state before any frame."""
        state: State = {name: np.zeros(rows, np.bool_ if name == BEGUN else np.int64) for name in _OWN}
        for name, leaf in _leaves(self._like):
            state[name] = np.zeros((rows, self.room, *leaf.shape[1:]), leaf.numpy().dtype)
        if self._rated:
            state[RATE] = np.zeros((rows, 2))
        return state

    @torch.no_grad()
    def step(self, events: Mapping[str, StepEvent], elapsed_ns: Int64Array, state: State) -> tuple[Outputs, State]:
        """Take what was measured at one moment; see `mambats.streaming.engine.Engine.step`."""
        rows = len(elapsed_ns)
        outputs = {
            name: np.zeros((rows, *shape), np.int64 if name in ("count", "refused") else np.float64)
            for name, shape in self.outputs.items()
        }
        outputs["identity"] = np.full((rows, self.room), -1, np.int64)
        outputs["detection"] = np.full((rows, self.room), -1, np.int64)
        after = {name: array.copy() for name, array in state.items()}
        after[CLOCK] = state[CLOCK] + elapsed_ns
        seen, asked = events.get(DETECTIONS), events.get(QUERY)
        for row in range(rows):
            found = unpack_frame(seen.values[row], seen.observed[row]) if seen and seen.mask[row] else None
            if found is not None:
                self._tell(outputs, row, self._follow(after, row, found))
            elif (asked and asked.mask[row]) or (seen and seen.mask[row]):
                self._tell(outputs, row, self._carry(after, row))
        outputs["refused"] = after[REFUSED].copy()
        return outputs, after

    def _follow(self, after: State, row: int, found: DetectionFrame) -> Tracks:
        """Take a frame; return the tracks to tell of."""
        before = self._tree(after, row)
        now = self._now(after, row)
        made, frame = self.tracker.step(before, now, self._detections(found))
        kept = torch.arange(len(made.tracks.identity))
        if len(kept) > self.room:
            kept = made.tracks.existence.argsort(descending=True, stable=True)[: self.room].sort().values
        after[REFUSED][row] += found.refused + len(made.tracks.identity) - len(kept)
        after[LAST][row], after[BEGUN][row], after[NEXT][row], after[COUNT][row] = now, True, made.identity, len(kept)
        if self._rated and made.rate is not None:
            after[RATE][row], made = made.rate[0].numpy(), made._replace(rate=None)
        for name, leaf in _leaves(made):
            after[name][row] = 0
            after[name][row, : len(kept)] = leaf.index_select(0, kept).numpy()
        return frame.tracks.take(kept).take(frame.shown.index_select(0, kept))

    def _carry(self, after: State, row: int) -> Tracks:
        """Return the confirmed tracks of the last frame as they are expected to be now; the state stays."""
        before = self._tree(after, row)
        shown = before.tracks.take(self.tracker.confirmer(before.tracks))
        now = self._now(after, row)
        if before.stamp is None or now <= int(after[LAST][row]) + 1:
            return shown
        # As if nothing were seen at this moment: moved, and those gone that a tracker would give up.
        moved = self.tracker.step(before, now, self._detections(_NOTHING))[1].tracks
        return moved.take(torch.isin(moved.identity, shown.identity))

    def _now(self, after: State, row: int) -> int:
        """Return the row's clock, later than its last frame: a clock that is clamped may stand still."""
        now, last = int(after[CLOCK][row]), int(after[LAST][row])
        return max(now, last + 1) if after[BEGUN][row] else now

    def _tree(self, state: State, row: int) -> TrackerState:
        """Build the tracker's state of named arrays."""
        if not state[BEGUN][row]:
            return self.tracker.init_state()
        count = int(state[COUNT][row])
        leaves = {name: torch.from_numpy(state[name][row, :count].copy()) for name, _ in _leaves(self._like)}
        made: TrackerState = _restored(self._like, leaves)
        made = made._replace(stamp=int(state[LAST][row]), identity=int(state[NEXT][row]))
        return made._replace(rate=torch.from_numpy(state[RATE][row : row + 1].copy())) if self._rated else made

    def _detections(self, found: DetectionFrame) -> Detections:
        boxes, count = torch.from_numpy(found.boxes), len(found.row)
        score = None if found.score is None else torch.from_numpy(found.score)
        one = torch.zeros(1, dtype=torch.int64)
        objects = Objects(one, torch.tensor([0, count]), boxes, torch.zeros(count, dtype=torch.int64), ("",), score)
        made = self.tracker.detector(objects)[0]
        return made._replace(row=torch.from_numpy(found.row)[made.row])

    @staticmethod
    def _tell(outputs: Outputs, row: int, tracks: Tracks) -> None:
        """Write tracks as `mambats.track.tell` has them online."""
        count = len(tracks.identity)
        box = tracks.mean[:, :SEEN].clone()
        box[:, 3:6].clamp_(min=0.05)  # as `tell` does
        box[:, 6] = wrapped(box[:, 6])
        told = {
            "identity": tracks.identity, "box": box, "velocity": tracks.mean[:, SEEN : SEEN + 3],
            "covariance": tracks.covariance[:, :SEEN, :SEEN], "score": confidence(tracks),
            "detection": tracks.detection.where(tracks.misses == 0, -1), "silent": tracks.silent,
        }  # fmt: skip
        outputs["count"][row] = count
        for name, leaf in told.items():
            outputs[name][row, :count] = leaf.numpy()


_NOTHING = DetectionFrame(np.zeros((0, 7)), None, np.zeros(0, np.int64), 0)


def tracker_engine(
    recipe: str | Path, checkpoint: str | Path | None = None, most: int = 32, room: int = 64, tick_ns: int | None = None
) -> TrackerEngine:
    """Open the tracker of a recipe, such as `recipes/track/kitti_car.yaml`, for streaming.

    Args:
        recipe: Of `mambats track`; what it says of a camera is not read.
        checkpoint: Learned noise, as `mambats fit` wrote it.
        most: Detections that a packet has room for.
        room: Tracks that are kept.
        tick_ns: See `TrackerEngine`.

    Raises:
        RecipeError: If it names no class or no tracker, or the checkpoint holds no noise for the class.
        CheckpointError: If the checkpoint cannot be read.
    """
    from mambats.track.recipe import read_recipe

    read = read_recipe(Path(recipe), None if checkpoint is None else Path(checkpoint))
    return TrackerEngine(read.tracker, most, room, tick_ns, read.kind)


def _leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Name every tensor of a tracker's state; all have a row a track."""
    if isinstance(tree, Tensor):
        yield name, tree
    elif isinstance(tree, tuple):
        fields = getattr(tree, "_fields", None) or [str(k) for k in range(len(tree))]
        for field, child in zip(fields, tree, strict=True):
            yield from _leaves(child, f"{name}.{field}" if name else field)


def _restored(like: Any, leaves: Mapping[str, Tensor], name: str = "") -> Any:
    """Build a state of the same form; what is no tensor stays as it is."""
    if isinstance(like, Tensor):
        return leaves[name]
    if not isinstance(like, tuple):
        return like
    fields = getattr(like, "_fields", None) or [str(k) for k in range(len(like))]
    parts = [_restored(c, leaves, f"{name}.{f}" if name else f) for f, c in zip(fields, like, strict=True)]
    return type(like)(*parts) if hasattr(like, "_fields") else tuple(parts)


def _weights(tracker: Tracker) -> dict[str, npt.NDArray[Any]]:
    """Return the numbers of its parts that are modules: of the motion, of a learned noise."""
    modules = {"motion": tracker.predictor.motion, "model": getattr(tracker, "model", None)}
    return {
        f"{part}.{name}": value.detach().contiguous().numpy()
        for part, module in modules.items()
        if isinstance(module, nn.Module)
        for name, value in module.state_dict().items()
    }
