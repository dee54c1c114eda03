"""Many bodies around a sensor at rest, with motion, noise, misses and clutter of stated laws: what trackers meet."""

from mambats_datasets.synthetic.crossing.appearance import Looks, appearance
from mambats_datasets.synthetic.crossing.law import Arcs, MotionLaw, Straight
from mambats_datasets.synthetic.crossing.shadow import shown
from mambats_datasets.synthetic.crossing.stated import StatedDetector
from mambats_datasets.synthetic.crossing.worlds import Crossings, CrossingWorlds

__all__ = [
    "Arcs",
    "CrossingWorlds",
    "Crossings",
    "Looks",
    "MotionLaw",
    "StatedDetector",
    "Straight",
    "appearance",
    "shown",
]
