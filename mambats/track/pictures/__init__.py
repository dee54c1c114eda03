"""Pictures of tracks: from above, still and moving; when which track was there; whether covariances are right.

matplotlib is loaded when the first picture is drawn, Rerun when the first recording is written.
"""

from mambats.track.pictures.above import draw_above
from mambats.track.pictures.animation import animate_above
from mambats.track.pictures.gallery import draw_tracks
from mambats.track.pictures.record import record_tracks
from mambats.track.pictures.scene import Scene, joined, scene_of
from mambats.track.pictures.timeline import draw_timeline

__all__ = [
    "Scene",
    "animate_above",
    "draw_above",
    "draw_timeline",
    "draw_tracks",
    "joined",
    "record_tracks",
    "scene_of",
]
