"""The predictor: where bodies are at the next frame."""

from __future__ import annotations

import torch
from torch import Tensor

from mambats.estimators import LinearMotion, Motion, StepMotion
from mambats.gaussian import Gaussian
from mambats.track.tracks import Tracks
from mambats_kernels.kalman import kalman_predict

LINEAR = (LinearMotion, StepMotion)


class Predictor:
    """Moves tracks by a motion of `mambats.estimators`, all of them in one call.

    All tracks of a frame wait equally long: of a linear motion the matrices of a step are kept, for a sensor's frames
    come at few different gaps (a predict of twelve tracks took 0.6 ms by the filter's own door, 0.03 ms so).

    Args:
        motion: Of a state that begins with a box.
    """

    #: Gaps between frames whose matrices are kept.
    KEPT = 64

    def __init__(self, motion: Motion) -> None:
        self.motion = motion.double().requires_grad_(False)
        self._steps = dict[float, tuple[Tensor, Tensor]]()

    @property
    def size(self) -> int:
        """Numbers of a state, n."""
        return self.motion.size

    def __call__(self, tracks: Tracks, elapsed: float) -> Tracks:
        """Return the tracks after `elapsed` seconds, which nothing was seen of.

        Raises:
            ValueError: If elapsed is not above 0.
        """
        if not elapsed > 0:
            raise ValueError(f"elapsed is {elapsed} s, needed more than 0: give frames in the order of time.")
        state = self.move(Gaussian(tracks.mean, tracks.covariance), elapsed)
        silent, misses = tracks.silent + elapsed, tracks.misses + 1
        return tracks._replace(mean=state.mean, covariance=state.covariance, silent=silent, misses=misses)

    def move(self, state: Gaussian, elapsed: float) -> Gaussian:
        """Return states (B, n) after a time."""
        matrix, noise = self.step(state.mean, elapsed)
        mean, covariance = kalman_predict(state.mean, state.covariance, matrix, noise)
        return Gaussian(mean if isinstance(self.motion, LINEAR) else self.moved(state.mean, elapsed), covariance)

    def moved(self, mean: Tensor, elapsed: float) -> Tensor:
        """Return means (B, n) after a time."""
        if isinstance(self.motion, LINEAR):
            return mean @ self.step(mean, elapsed)[0].mT
        return self.motion(mean, self._time(mean, elapsed))

    def step(self, mean: Tensor, elapsed: float) -> tuple[Tensor, Tensor]:
        """Return transition and noise of a step: (n, n) each, or (B, n, n) of a motion that is not linear."""
        if not isinstance(self.motion, LINEAR):
            time = self._time(mean, elapsed)
            return self.motion.jacobian(mean, time), self.motion.noise(time)
        if elapsed not in self._steps:
            if len(self._steps) >= self.KEPT:
                self._steps.clear()
            one = mean.new_zeros(1, self.size)
            time = self._time(one, elapsed)
            self._steps[elapsed] = self.motion.jacobian(one, time)[0], self.motion.noise(time)[0]
        return self._steps[elapsed]

    @staticmethod
    def _time(mean: Tensor, elapsed: float) -> Tensor:
        return torch.full_like(mean[:, 0], elapsed)
