"""A predictor whose next step is learned: from the histories of all tracks, in place of constant velocity."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mambats.estimators import Motion
from mambats.gaussian import Gaussian
from mambats.track.forecast.batch import NEEDED, ForecastBatch
from mambats.track.forecast.model import TrajectoryForecaster
from mambats.track.forecast.own_motion import looks_of, row_of, teller
from mambats.track.forecast.scene import GROUND
from mambats.track.predictor import Predictor
from mambats.track.tracks import SEEN, Tracks

SLACK = 0.25  # share by which a step may be longer or shorter than the model's: the others go at constant velocity


class _Moment(NamedTuple):
    """What was known of tracks at a frame."""

    identity: Tensor
    hits: Tensor
    mean: Tensor
    covariance: Tensor
    elapsed: float
    own: Tensor  # (4,): of the sensor, see `OwnMotion`


class LearnedPredictor(Predictor):
    """Moves places by a `TrajectoryForecaster` of one short horizon, and all else by a motion.

    It remembers the last frames of every track, and so belongs to one sequence: `restart` begins another, and tracks
    that cannot go on from the last ones do it by themselves. Online only: smoothers go back along `motion`.

    Args:
        motion: Of a state that begins with a box; what happens where the model is not asked.
        model: One horizon, that of a frame; one class, that of the tracker.
        window: Frames that it looks back.
        label: Class that the tracks have in the model.

    Raises:
        ValueError: If the model has several horizons, or no such class.
    """

    def __init__(self, motion: Motion, model: TrajectoryForecaster, window: int = 12, label: int = 0) -> None:
        super().__init__(motion)
        if len(model.horizons) != 1 or not 0 <= label < len(model.classes) or window < 2:
            raise ValueError(
                f"the model has horizons {model.horizons} s and classes {model.classes}, label is {label}, window "
                f"{window}: needed one horizon, one of the classes, and 2 frames or more."
            )
        self.model, self.window, self.label = model.eval().requires_grad_(False), window, label
        self._past, self._teller = list[_Moment](), teller()
        self._ego = self._teller.init_state()

    def restart(self) -> None:
        """Forget all tracks."""
        self._past.clear()
        self._ego = self._teller.init_state()

    def __call__(self, tracks: Tracks, elapsed: float | Tensor) -> Tracks:
        """Return the tracks after `elapsed` seconds, which nothing was seen of.

        Raises:
            ValueError: If elapsed is not above 0, or tracks are of several scenes.
        """
        moved = super().__call__(tracks, elapsed)
        if isinstance(elapsed, Tensor) or tracks.scene is not None:
            raise ValueError("a learned predictor remembers one scene: track the scenes one behind another.")
        self._remember(tracks, elapsed)
        step = self.model.horizons[0]
        if not len(tracks.identity) or abs(elapsed - step) > SLACK * step:
            return moved
        # Of others the model was taught nothing: young tracks, and those that nothing was seen of in this frame. Asked
        # for these too, it made 19 switches of 1 (KITTI's cars, sequences 0000, 0003 and 0004).
        known = (tracks.misses == 0) & self._old(tracks.identity)
        if not bool(known.any()):
            return moved
        made = _placed(moved, self.next(tracks.identity))
        mean = torch.where(known[:, None], made.mean, moved.mean)
        covariance = torch.where(known[:, None, None], made.covariance, moved.covariance)
        return moved._replace(mean=mean, covariance=covariance)

    @torch.no_grad()
    def next(self, identity: Tensor) -> Gaussian:
        """Return where tracks (T,) of the last frame are at the next: means (T, 2), covariances (T, 2, 2)."""
        said = self.model(self._batch(identity))
        weight = said.logits[:, -1].softmax(-1).double()
        mean, covariance = said.mean[:, -1, :, 0].double(), said.covariance[:, -1, :, 0].double()
        middle = (weight[..., None] * mean).sum(1)
        apart = mean - middle[:, None]
        spread = covariance + apart[..., None] * apart[..., None, :]  # of a mixture: within the modes and between them
        return Gaussian(middle, (weight[..., None, None] * spread).sum(1))

    def _old(self, identity: Tensor) -> Tensor:
        """Which tracks are remembered for as long as the model was taught to need, shape (T,) bool."""
        frames = torch.stack([torch.isin(identity, one.identity) for one in self._past])
        return frames.sum(0) * self.model.horizons[0] > NEEDED

    def _remember(self, tracks: Tracks, elapsed: float) -> None:
        if self._past and self._begins(tracks):
            self.restart()
        ground = torch.tensor(GROUND)
        mean, covariance = tracks.mean[:, : SEEN + 3], tracks.covariance[:, ground][:, :, ground]
        own = self._told(mean, covariance, tracks.misses == 0)
        self._past.append(_Moment(tracks.identity, tracks.hits, mean, covariance, elapsed, own))
        del self._past[: -self.window]

    def _told(self, mean: Tensor, covariance: Tensor, seen: Tensor) -> Tensor:
        """What those that were seen tell of the sensor, a wait after the frame before."""
        label = torch.full((int(seen.sum()),), self.label)
        looks = looks_of(mean[seen], covariance[seen], label, self.model.classes, self._teller)
        self._ego, motion = self._teller.step(self._ego, self._past[-1].elapsed if self._past else None, looks)
        return row_of(motion)

    def _begins(self, tracks: Tracks) -> bool:
        """Whether these are of another sequence: one took fewer detections than it had, or a new one is older."""
        last = self._past[-1]
        if not len(last.identity):
            return False
        same = tracks.identity[:, None] == last.identity
        fewer = (same & (tracks.hits[:, None] < last.hits)).any()
        return bool(fewer | (~same.any(1) & (tracks.identity < last.identity.max())).any())

    def _batch(self, identity: Tensor) -> ForecastBatch:
        """The remembered frames of the tracks of the last one."""
        count, frames = len(identity), len(self._past)
        mean, seen = torch.zeros(count, frames, 10), torch.zeros(count, frames, dtype=torch.bool)
        covariance = torch.eye(4).repeat(count, frames, 1, 1)
        for f, one in enumerate(self._past):
            same = identity[:, None] == one.identity
            seen[:, f] = same.any(1)
            rows = same.long().argmax(1) if len(one.identity) else torch.zeros_like(identity)
            if len(one.identity):
                mean[:, f] = torch.where(seen[:, f, None], one.mean[rows], 0.0).float()
                covariance[:, f] = torch.where(
                    seen[:, f, None, None], one.covariance[rows], covariance[:, f].double()
                ).float()
        waits = torch.tensor([one.elapsed for one in self._past])
        # A moment keeps the wait behind it; a frame's own is that of the moment before.
        elapsed = torch.cat([waits[:1], waits[:-1]]).expand(count, frames)
        age = (seen * elapsed).cumsum(1)
        age = (age - age.gather(1, seen.long().argmax(1, keepdim=True))) * seen
        truth = torch.full((count, frames, 1, 2), torch.nan)
        label = torch.full((count,), self.label)
        own = torch.stack([one.own for one in self._past]).float().expand(count, -1, -1)
        return ForecastBatch(mean, covariance, seen, age, elapsed, label, torch.zeros_like(label), truth, own)


def _placed(tracks: Tracks, said: Gaussian) -> Gaussian:
    """Return states whose places are as said; what goes with them follows by the correlations.

    Means of the velocity stay: the next update moves them. Covariances are multiplied on both sides by what makes the
    place's block the one said, and so stay covariances.
    """
    mean = tracks.mean.clone()
    mean[:, :2] = said.mean
    was, is_ = torch.linalg.cholesky(tracks.covariance[:, :2, :2]), torch.linalg.cholesky(said.covariance)
    turn = torch.eye(mean.shape[1], dtype=mean.dtype).repeat(len(mean), 1, 1)
    turn[:, :2, :2] = torch.linalg.solve_triangular(was, is_, upper=False, left=False)
    covariance = turn @ tracks.covariance @ turn.mT
    return Gaussian(mean, (covariance + covariance.mT) / 2)
