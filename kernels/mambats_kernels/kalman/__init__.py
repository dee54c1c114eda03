"""Kalman filters over a batch of small states: predict, update, and both in one call."""

from mambats_kernels.kalman.op import kalman_predict, kalman_step, kalman_update
from mambats_kernels.kalman.prepared import PreparedKalman
from mambats_kernels.kalman.reference import Update
from mambats_kernels.kalman.running import RunningKalman

__all__ = ["PreparedKalman", "RunningKalman", "Update", "kalman_predict", "kalman_step", "kalman_update"]
