"""Costs of pairs that also ask who a detection is of."""

from __future__ import annotations

import torch
from torch import Tensor

from mambats.track.affinity import Affinity, like
from mambats.track.detector import Detections
from mambats.track.gate import Pairs
from mambats.track.identity.embedder import IdentityEmbedder
from mambats.track.matching import Array
from mambats.track.tracks import Tracks


class IdentityAffinity(Affinity):
    """Another affinity's cost, less twice the log odds that track and detection look like one body.

    `Mahalanobis` is minus twice a log likelihood, so both are of one unit. A track looks like the mean of the
    detections it took. `look` gives the features of a sequence before it is tracked; it also begins a new sequence.

    Args:
        base: The cost by place; what it rules out stays out.
        embedder: Trained and calibrated.
        weight: Of the looks; 0 leaves them out.

    Raises:
        ValueError: If the weight is below 0; when called, if nothing was looked at.
    """

    def __init__(self, base: Affinity, embedder: IdentityEmbedder, weight: float = 1.0) -> None:
        if weight < 0:
            raise ValueError(f"weight is {weight}: needed 0 or more.")
        self.base, self.embedder, self.weight, self.reach = base, embedder.eval(), weight, base.reach
        self._looks: Tensor | None = None
        self._means, self._took = dict[int, Tensor](), dict[int, int]()

    @torch.no_grad()
    def look(self, features: Tensor) -> None:
        """Take the features (N, F) of all detections of a sequence, in their order, and forget all tracks."""
        self._looks = self.embedder(features)
        self._means.clear()
        self._took.clear()

    def __call__(self, tracks: Tracks, detections: Detections, pairs: Pairs) -> Array:
        """Return the cost (K,)."""
        cost = self.base(tracks, detections, pairs)
        if self._looks is None:
            raise ValueError("nothing was looked at: call look(features) before a sequence is tracked.")
        if self.weight == 0 or not len(cost):
            return cost
        first, second = (torch.as_tensor(rows) for rows in pairs)
        looks = self._looks[detections.row[second]]
        cosine = (self._remembered(tracks, self._looks)[first] * looks).sum(-1)
        return cost - 2 * self.weight * like(self.embedder.odds(cosine).double(), cost)

    def _remembered(self, tracks: Tracks, looks: Tensor) -> Tensor:
        """How the tracks look (T, E): means over the detections they took."""
        for identity, row in zip(tracks.identity.tolist(), tracks.detection.tolist(), strict=True):
            if self._took.get(identity) != row:
                before = self._means.get(identity)
                self._means[identity] = looks[row] if before is None else before + looks[row]
                self._took[identity] = row
        made = torch.stack([self._means[one] for one in tracks.identity.tolist()])
        return torch.nn.functional.normalize(made, dim=-1)
