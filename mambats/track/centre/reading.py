"""How recorded sweeps are handed to a detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mambats.recipe import RecipeError, load_recipe, rebuild
from mambats.track.centre.drive import LEAST
from mambats.track.centre.recorded import Seat


class SweepReading:
    """How sweeps are handed to a detector, and what its classes are called in KITTI's files.

    Args:
        names: KITTI's word for each of the detector's classes that is followed.
        before: Sweeps laid over one another, as the detector was trained; only where the sensor's motion is known, else
            each sweep stands alone.
        seat: How the LiDAR sits; None is `Seat(near=2.5)`: KITTI's own car is left out.
        picture: Height and width of the picture that the detector reads; None: it reads none.
        least: Score under which a box is not handed to a tracker.
        batch_size: Sweeps at a time.

    Raises:
        ValueError: If `before` does not begin with 0.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        before: Sequence[int] = (0,),
        seat: Seat | None = None,
        picture: Sequence[int] | None = None,
        least: float = LEAST,
        batch_size: int = 4,
    ) -> None:
        if not before or before[0] != 0 or min(before) < 0:
            raise ValueError(f"before is {list(before)}: needed 0 first, then how many sweeps back.")
        self.names, self.before, self.seat = dict(names), tuple(before), seat or Seat(near=2.5)
        self.picture, self.least, self.batch_size = picture, least, batch_size


def read_reading(recipes: Sequence[Path]) -> SweepReading:
    """Read how sweeps are read: `sweeps` of the first recipe that has it.

    Raises:
        RecipeError: If none has it, or it is something else.
    """
    for path in recipes:
        if (spec := load_recipe(path).get("sweeps")) is not None:
            if not isinstance(made := rebuild(spec), SweepReading):
                raise RecipeError(f"{path}: `sweeps` is a {type(made).__name__}, needed a SweepReading.")
            return made
    raise RecipeError(f"{recipes[0]}: has no `sweeps`. Take recipes/track/raw_sim_track.yaml for a start.")
