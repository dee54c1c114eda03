"""Learned inside classical: an encoder over what a filter was surprised by sets the filter's noise."""

from mambats.estimators.learned.loss import surprise
from mambats.estimators.learned.noise import LearnedNoise, LearnedState

__all__ = ["LearnedNoise", "LearnedState", "surprise"]
