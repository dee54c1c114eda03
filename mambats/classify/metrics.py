"""How well classes are told apart, and whether the stated probabilities are true."""

from __future__ import annotations

import torch
from torch import Tensor


def accuracy(probability: Tensor, label: Tensor) -> Tensor:
    """Return the share of cases (n,) whose likeliest class of probability (n, K) is the label (n,) int64."""
    return (probability.argmax(-1) == label).double().mean()


def balanced_accuracy(probability: Tensor, label: Tensor) -> Tensor:
    """Return the mean over the classes that occur of the share of their cases that were found."""
    right = (probability.argmax(-1) == label).double()
    return torch.stack([right[label == each].mean() for each in label.unique()]).mean()


def expected_calibration_error(probability: Tensor, label: Tensor, bins: int = 15) -> Tensor:
    """Return the mean gap between stated and true chance of being right, over bins of equal width, within [0, 1].

    With few cases a perfect classifier too has a gap of chance: compare models on the same cases only.

    Args:
        probability: Shape (n, K).
        label: Shape (n,) int64.
        bins: Number of bins.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3; 15 bins as there.
    """
    stated, chosen = probability.double().max(-1)
    right = (chosen == label).double()
    place = (stated * bins).ceil().long().clamp(1, bins) - 1
    gap = torch.zeros(bins, dtype=torch.float64, device=label.device).index_add(0, place, right - stated)
    return gap.abs().sum() / label.numel()


def log_loss(probability: Tensor, label: Tensor) -> Tensor:
    """Return the mean of -log p of the true class, nats, p at least 1e-12."""
    return -probability.double().gather(1, label[:, None]).clamp_min(1e-12).log().mean()


def confusion(probability: Tensor, label: Tensor) -> Tensor:
    """Return the cases of class i taken for class j, shape (K, K) int64."""
    classes = probability.shape[-1]
    return torch.bincount(label * classes + probability.argmax(-1), minlength=classes**2).reshape(classes, classes)


SCORES = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "calibration_error": expected_calibration_error,
    "log_loss": log_loss,
}
