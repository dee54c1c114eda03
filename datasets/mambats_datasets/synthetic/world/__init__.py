"""A procedural world in tensors, and what LiDAR, camera and detector measure in it, B drives at once."""

from mambats_datasets.synthetic.world.camera import Camera, Picture
from mambats_datasets.synthetic.world.cast import cast
from mambats_datasets.synthetic.world.detections import Detections, Detector, Targets
from mambats_datasets.synthetic.world.detections_2d import Detections2D, PictureDetector
from mambats_datasets.synthetic.world.drives import Drives
from mambats_datasets.synthetic.world.kinds import LABELS
from mambats_datasets.synthetic.world.landmarks import Landmarks, Sightings
from mambats_datasets.synthetic.world.layout import Layout
from mambats_datasets.synthetic.world.lidar import Lidar, Sweep
from mambats_datasets.synthetic.world.outline import Outlines, outlines
from mambats_datasets.synthetic.world.rays import EARTH, NOTHING, Hits, Rays
from mambats_datasets.synthetic.world.scene import Boxes, Scene
from mambats_datasets.synthetic.world.street import StreetWorlds

__all__ = [
    "EARTH",
    "LABELS",
    "NOTHING",
    "Boxes",
    "Camera",
    "Detections",
    "Detections2D",
    "Detector",
    "Drives",
    "Hits",
    "Landmarks",
    "Layout",
    "Lidar",
    "Outlines",
    "Picture",
    "PictureDetector",
    "Rays",
    "Scene",
    "Sightings",
    "StreetWorlds",
    "Sweep",
    "Targets",
    "cast",
    "outlines",
]
