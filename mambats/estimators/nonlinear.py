"""What extended and unscented filters share: moves made linear where the state is, and smoothing back through them."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple, cast

import torch
from torch import Tensor

from mambats.estimators.filter import Filter, FilterState
from mambats.estimators.run import Run
from mambats.gaussian import Gaussian
from mambats.protocols import State
from mambats_kernels.kalman import kalman_predict


class Transition(NamedTuple):
    """How a state moves, linear about where it is.

    Args:
        mean: After the move, shape (B, n).
        matrix: Of the error before to the error after, F, shape (B, n, n).
        noise: Covariance of what is added, the motion's own and that of the linearisation, shape (B, n, n).
    """

    mean: Tensor
    matrix: Tensor
    noise: Tensor


class NonlinearFilter(Filter):
    """A filter that makes motion and sensors linear at the state at hand; see `Filter` for its arguments."""

    @abstractmethod
    def transition(self, state: State, elapsed: Tensor, noise: Tensor) -> Transition:
        """Return how the state moves in elapsed (B,) seconds while noise (B, n, n) is added."""

    def smooth(self, run: Run) -> Gaussian:
        """Return what is known after each event once all of the window was seen: offline.

        Args:
            run: What this filter made of a window; the smoother goes back through the model's own process noise.

        Returns:
            Mean (B, K, n) and covariance (B, K, n, n) after each event, symmetric positive definite; where there is no
            event, as after the last one.

        Source: Rauch, Tung and Striebel 1965 for linear models; Särkkä, Bayesian Filtering and Smoothing, 2013,
            algorithms 9.1 (extended) and 10.2 (unscented); covariance in the form of Joseph.
        """
        stamps = run.timeline.stamps
        elapsed = (stamps.diff(dim=1).to(torch.float64) / 1e9).to(run.mean)
        means, covariances = list(run.mean.unbind(1)), list(run.covariance.unbind(1))
        for k in range(len(means) - 2, -1, -1):
            after = Gaussian(means[k + 1], covariances[k + 1])
            means[k], covariances[k] = self._back(FilterState(means[k], covariances[k]), after, elapsed[:, k])
        if not means:
            return Gaussian(run.mean, run.covariance)
        return Gaussian(torch.stack(means, 1), torch.stack(covariances, 1))

    def _back(self, state: FilterState, after: Gaussian, elapsed: Tensor) -> Gaussian:
        """Return the smoothed state before a move, given the smoothed one after it."""
        moved = self.transition(state, elapsed, self.motion.noise(elapsed))
        mean, covariance = step_back(Gaussian(state.mean, state.covariance), after, moved)
        still = elapsed <= 0  # two events at one moment: what is known after all is the same
        return Gaussian(
            torch.where(still[:, None], after.mean, mean),
            torch.where(still[:, None, None], after.covariance, covariance),
        )

    def _move(self, state: State, elapsed: Tensor, noise: Tensor) -> State:
        before = cast(FilterState, state)
        moved = self.transition(before, elapsed, noise)
        _, covariance = kalman_predict(before.mean, before.covariance, moved.matrix, moved.noise)
        return before._replace(mean=moved.mean, covariance=covariance)


def step_back(state: Gaussian, after: Gaussian, moved: Transition) -> Gaussian:
    """Return what is known of states (B, n) before a move, once `after` is known of them after it.

    Source: Rauch, Tung and Striebel, Maximum Likelihood Estimates of Linear Dynamic Systems, 1965; covariance in the
        form of Joseph.
    """
    seen = moved.matrix @ state.covariance
    _, ahead = kalman_predict(moved.mean, state.covariance, moved.matrix, moved.noise)
    gain = torch.cholesky_solve(seen, torch.linalg.cholesky(ahead)).mT
    mean = state.mean + (gain @ (after.mean - moved.mean).unsqueeze(-1)).squeeze(-1)
    left = torch.eye(state.mean.shape[-1]).to(gain) - gain @ moved.matrix
    _, covariance = kalman_predict(mean, state.covariance, left, gain @ (moved.noise + after.covariance) @ gain.mT)
    return Gaussian(mean, covariance)
