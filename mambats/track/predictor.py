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
        self._device = torch.device("cpu")  # where a motion that is not linear is worked out
        self._steps = dict[tuple[float, torch.device], tuple[Tensor, Tensor]]()

    @property
    def size(self) -> int:
        """Numbers of a state, n."""
        return self.motion.size

    def __call__(self, tracks: Tracks, elapsed: float | Tensor) -> Tracks:
        """Return the tracks after `elapsed` seconds, of all or of each (T,), which nothing was seen of.

        Raises:
            ValueError: If elapsed is not above 0.
        """
        if not isinstance(elapsed, Tensor) and not elapsed > 0:
            raise ValueError(f"elapsed is {elapsed} s, needed more than 0: give frames in the order of time.")
        if not len(tracks.identity):
            return tracks
        state = self.move(Gaussian(tracks.mean, tracks.covariance), elapsed)
        silent, misses = tracks.silent + elapsed, tracks.misses + 1
        return tracks._replace(mean=state.mean, covariance=state.covariance, silent=silent, misses=misses)

    def move(self, state: Gaussian, elapsed: float | Tensor) -> Gaussian:
        """Return states (B, n) after a time, of all or of each (B,)."""
        matrix, noise = self.step(state.mean, elapsed)
        mean, covariance = kalman_predict(state.mean, state.covariance, matrix, noise)
        return Gaussian(mean if isinstance(self.motion, LINEAR) else self.moved(state.mean, elapsed), covariance)

    def moved(self, mean: Tensor, elapsed: float | Tensor) -> Tensor:
        """Return means (B, n) after a time."""
        if isinstance(self.motion, LINEAR):
            return (self.step(mean, elapsed)[0] @ mean[..., None])[..., 0]
        return self.motion(mean, _time(mean, elapsed))

    def step(self, mean: Tensor, elapsed: float | Tensor) -> tuple[Tensor, Tensor]:
        """Return transition and noise of a step: (n, n) each where a linear motion waits for all, else (B, n, n)."""
        if not isinstance(self.motion, LINEAR):
            if mean.device != self._device:
                self.motion.to(mean.device)
                self._device = mean.device
            time = _time(mean, elapsed)
            return self.motion.jacobian(mean, time), self.motion.noise(time)
        if isinstance(elapsed, Tensor):
            times, which = torch.unique(elapsed, return_inverse=True)
            matrix, noise = self._matrices(times.cpu())
            return matrix.to(mean)[which], noise.to(mean)[which]
        name = elapsed, mean.device
        if name not in self._steps:
            if len(self._steps) >= self.KEPT:
                self._steps.clear()
            matrix, noise = self._matrices(torch.tensor([elapsed], dtype=torch.float64))
            self._steps[name] = matrix[0].to(mean), noise[0].to(mean)
        return self._steps[name]

    def _matrices(self, elapsed: Tensor) -> tuple[Tensor, Tensor]:
        """Return transitions and noise (B, n, n) of times (B,), worked out on the CPU."""
        nothing = elapsed.new_zeros(len(elapsed), self.size)
        return self.motion.jacobian(nothing, elapsed), self.motion.noise(elapsed)


def _time(mean: Tensor, elapsed: float | Tensor) -> Tensor:
    return elapsed if isinstance(elapsed, Tensor) else torch.full_like(mean[:, 0], elapsed)
