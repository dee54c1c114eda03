"""Classifiers that any model must beat, fitted on the same training cases: neighbours and linear models."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from mambats.classify.features import RandomConvolutions, summary
from mambats.classify.warping import nearest_euclidean, nearest_warped
from mambats.data.cases import CaseSet

#: Operations (cells times pairs) above which warping is left out: about a minute on one core.
MOST_CELLS = 1_000_000_000


def score_baselines(train: CaseSet, test: CaseSet, classes: int, seed: int = 0) -> dict[str, Tensor]:
    """Return what each baseline gives as probabilities of the test cases, (n, K), by name.

    Absent values are filled with the last one seen, or the mean. Neighbours and ridge are sure of their choice.

    Args:
        train: Labelled cases, scaled.
        test: Cases to classify, scaled alike.
        classes: K.
        seed: Of the random kernels.
    """
    known, asked = filled(train), filled(test)
    labels = torch.tensor([last_label(case.target) for case in train.cases])
    found = {"majority": torch.bincount(labels, minlength=classes).argmax().expand(len(asked))}
    found["nearest_euclidean"] = nearest_euclidean(known, labels, asked)
    cells = sum(map(len, known)) * sum(map(len, asked))
    if cells <= MOST_CELLS:
        found["nearest_warped"] = nearest_warped(known, labels, asked)
    length = max(len(case) for case in known)
    kernels = RandomConvolutions(known[0].shape[1], length, seed=seed)
    found["random_convolutions"] = _ridge(kernels, known, labels, asked)
    sure = {name: torch.nn.functional.one_hot(label, classes).double() for name, label in found.items()}
    return sure | {"logistic_summary": _logistic(summary, known, labels, asked, classes)}


def filled(cases: CaseSet) -> list[Tensor]:
    """Return the scaled values of each case without holes, (T, C): the last one seen, 0 (the mean) before the first."""
    whole: list[Tensor] = []
    for values in cases.scaled:
        rows = torch.arange(len(values))[:, None]
        latest = torch.where(values.isfinite(), rows, -1).cummax(0).values
        known = values.nan_to_num(0.0)
        whole.append(torch.where(latest >= 0, known.gather(0, latest.clamp_min(0)), 0))
    return whole


def last_label(target: np.ndarray) -> int:
    """Return the last known class of a case."""
    return int(target[np.isfinite(target)][-1])


def _table(features: Callable[[Tensor], Tensor], cases: Sequence[Tensor]) -> np.ndarray:
    return torch.stack([features(case) for case in cases]).double().numpy()


def _ridge(
    features: Callable[[Tensor], Tensor], train: Sequence[Tensor], labels: Tensor, test: Sequence[Tensor]
) -> Tensor:
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # The penalties of the published code.
    model = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=np.logspace(-3, 3, 10)))
    model.fit(_table(features, train), labels.numpy())
    return torch.from_numpy(np.asarray(model.predict(_table(features, test))))


def _logistic(
    features: Callable[[Tensor], Tensor], train: Sequence[Tensor], labels: Tensor, test: Sequence[Tensor], classes: int
) -> Tensor:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(_table(features, train), labels.numpy())
    probability = torch.zeros(len(test), classes, dtype=torch.float64)
    probability[:, model[-1].classes_.tolist()] = torch.from_numpy(model.predict_proba(_table(features, test)))
    return probability
