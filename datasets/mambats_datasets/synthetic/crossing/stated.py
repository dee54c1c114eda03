"""A detector whose covariance, misses, clutter and scores are known in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mambats_datasets.synthetic.world.chance import normal
from mambats_datasets.synthetic.world.detections import Detections, Detector, Targets
from mambats_datasets.synthetic.world.kinds import CAR

# Deviations of x, y, z, l, w, h [m] and yaw [rad] next to the sensor, of cars, pedestrians and cyclists.
SPREAD = (
    (0.15, 0.15, 0.08, 0.20, 0.08, 0.06, 0.05),
    (0.08, 0.08, 0.06, 0.08, 0.06, 0.06, 0.30),
    (0.10, 0.10, 0.06, 0.12, 0.06, 0.06, 0.10),
)


@dataclass(frozen=True)
class StatedDetector(Detector):
    """A `Detector` that a filter and a calibration can be held to.

    The covariance of a detection is diagonal, deviation = noise SPREAD[class] (1 + range / reach), whatever hides the
    body; no box faces backwards unless `flip` says so, and sizes are cut at 0.1 m. Misses and clutter are as of
    `Detector`. Scores are logits that are no probabilities: N(m, 1) of true and N(-m, 1) of false boxes, m =
    `separation`, so that the chance to be true is `probability`.

    Args:
        separation: m; 1 lets 16 % of the true score below 0, and of the false above.
    """

    noise: float = 1.0
    flip: float = 0.0
    separation: float = 1.25

    def deviation(self, targets: Targets) -> Tensor:
        """Standard deviations of x y z l w h and yaw, (B, T, M, 7)."""
        return self._spread(targets.kind[:, None].expand(targets.alive.shape), targets.box)

    def probability(self, score: Tensor, odds: float) -> Tensor:
        """Chance that boxes of such scores are true: logistic(2 m score + ln odds), by Bayes' rule.

        Args:
            score: Logits, any shape.
            odds: True boxes for each false one, as `Crossings.odds` has it.
        """
        return torch.sigmoid(2 * self.separation * score + math.log(min(max(odds, 1e-300), 1e300)))

    def _spread(self, kind: Tensor, box: Tensor) -> Tensor:
        level = self.noise * (1 + box[..., :3].norm(dim=-1) / self.reach)
        return torch.tensor(SPREAD, device=box.device, dtype=box.dtype)[kind - CAR] * level[..., None]

    def _false(self, floor: Tensor, generator: torch.Generator) -> Detections:
        """False boxes, with the deviations that true ones would have there: these tell nobody apart."""
        made = super()._false(floor, generator)
        return made._replace(deviation=self._spread(made.kind, made.box))

    def _score(self, real: bool, chance: Tensor, generator: torch.Generator) -> Tensor:
        return (self.separation if real else -self.separation) + normal(generator, *chance.shape)
