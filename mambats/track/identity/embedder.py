"""Who a detection is of: features to points on a sphere, near for one body and far for two, whatever the view."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mambats.track.detector import ScoreCalibration
from mambats.track.objects import Objects


class IdentityEmbedder(nn.Module):
    """Embed features of detections so that those of one body lie together.

    Args:
        features: Numbers of a detection, of order one.
        width: Of the hidden layers.
        size: Numbers of the embedding.
        temperature: Of the softmax in training: differences of a cosine this large count.

    Raises:
        ValueError: If a number is too small.

    Example:
        embedder = IdentityEmbedder(features=16)
        loss = contrastive_loss(embedder(features), body, embedder.temperature)
    """

    slope: Tensor
    offset: Tensor

    def __init__(self, features: int, width: int = 64, size: int = 16, temperature: float = 0.1) -> None:
        super().__init__()
        if min(features, width) < 1 or size < 2 or temperature <= 0:
            raise ValueError(
                f"features are {features}, width {width}, size {size}, temperature {temperature}: needed at least 1, 1 "
                "and 2, and above 0."
            )
        self.features, self.width, self.size, self.temperature = features, width, size, temperature
        self.layers = nn.Sequential(
            nn.Linear(features, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, size)
        )
        self.register_buffer("slope", torch.tensor(1.0))
        self.register_buffer("offset", torch.tensor(0.0))

    def forward(self, features: Tensor) -> Tensor:
        """Return embeddings (N, size) of length 1 of features (N, features)."""
        return nn.functional.normalize(self.layers(features), dim=-1)

    def odds(self, cosine: Tensor) -> Tensor:
        """Return the log odds that two detections are of one body, before places are compared, from their cosine."""
        return self.slope * cosine + self.offset

    @torch.no_grad()
    def calibrate(self, features: Tensor, body: Tensor, scene: Tensor) -> None:
        """Set how a cosine becomes log odds, on labelled detections that were not trained on.

        Pairs of one body and pairs of two bodies of a scene are weighed alike: how often bodies are mixed up is for
        the tracker to know.

        Args:
            features: Shape (N, features).
            body: Which body each is of, shape (N,) int64; -1 for none.
            scene: Which scene, shape (N,) int64: bodies of two scenes never meet.

        Raises:
            ValueError: If there are no pairs of one body, or none of two.
        """
        made, own, other = self(features), list[Tensor](), list[Tensor]()
        for one in scene.unique():
            rows = torch.nonzero((scene == one) & (body >= 0))[:, 0]
            cosine, same = made[rows] @ made[rows].T, body[rows, None] == body[rows]
            above = torch.ones_like(same).triu(1)
            own.append(cosine[same & above])
            other.append(cosine[~same & above])
        true, false = torch.cat(own), torch.cat(other)
        if not len(true) or not len(false):
            raise ValueError(f"there are {len(true)} pairs of one body, {len(false)} of two: needed some of both.")
        count = min(len(true), len(false), PAIRS)
        # Evenly spaced of each kind: as many of both.
        parts = [one[torch.linspace(0, len(one) - 1, count).long()] for one in (true, false)]
        fitted = ScoreCalibration.fitted(torch.cat(parts), torch.arange(2 * count) < count)
        self.slope.fill_(fitted.slope)
        self.offset.fill_(fitted.offset)


PAIRS = 20_000


def contrastive_loss(embedding: Tensor, body: Tensor, temperature: float) -> Tensor:
    """Return the supervised contrastive loss: of every detection, minus the mean log share of its own body's others.

    Args:
        embedding: Shape (N, E), of length 1.
        body: Shape (N,) int64; -1 is like none, not even itself.
        temperature: Above 0.

    Source: P. Khosla et al., Supervised contrastive learning, NeurIPS 2020, equation 2.
    """
    alike = embedding @ embedding.T / temperature
    itself = torch.eye(len(body), dtype=torch.bool, device=body.device)
    share = alike.masked_fill(itself, -torch.inf).log_softmax(-1)
    same = (body[:, None] == body) & (body >= 0)[:, None] & ~itself
    count = same.sum(-1)
    each = -torch.where(same, share, 0.0).sum(-1) / count.clamp_min(1)
    return each[count > 0].mean() if bool((count > 0).any()) else (0.0 * embedding).sum()


def box_features(objects: Objects) -> Tensor:
    """Return what a box alone tells of who it is (N, 4): logarithms of its sizes, and its score over ten.

    Raises:
        ValueError: If there are no scores.
    """
    if objects.score is None:
        raise ValueError("detections have no scores: give some, or features of your own.")
    sizes = objects.boxes[:, 3:6].clamp_min(0.05).log()
    return torch.cat([sizes, objects.score[:, None] / 10], -1).float()
