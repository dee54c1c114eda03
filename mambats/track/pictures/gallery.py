"""All pictures of a sequence in one folder."""

from __future__ import annotations

from pathlib import Path

from mambats.pictures.chi_square import draw_chi_square
from mambats.track.objects import BOX
from mambats.track.pictures.above import draw_above
from mambats.track.pictures.animation import animate_above
from mambats.track.pictures.scene import Scene
from mambats.track.pictures.timeline import draw_timeline


def draw_tracks(scene: Scene, folder: Path | str, *, animation: bool = True) -> list[Path]:
    """Draw `NAME_above.png`, `NAME_above.gif`, `NAME_timeline.png` and, where updates are known, `NAME_nis.png`.

    Args:
        scene: Of a sequence, see `scene_of` and `joined`.
        folder: Made where it is not there.
        animation: Whether to draw the GIF, which takes the longest.

    Returns:
        The paths; none where the scene has no frame.

    Raises:
        ModuleNotFoundError: If matplotlib is not installed.

    Example:
        history = tracker.run(detections)
        scene = scene_of(tell(history, detections), detections, "online", history=history)
        draw_tracks(scene, "pictures")
    """
    if not len(scene.stamps):
        return []
    place = Path(folder) / scene.name
    drawn = [draw_above(scene, f"{place}_above.png"), draw_timeline(scene, f"{place}_timeline.png")]
    if animation:
        drawn.append(animate_above(scene, f"{place}_above.gif"))
    values = {name: one for name, one in scene.nis.items() if len(one)}
    if values:
        title = f"{scene.name}: normalised innovation squared of the updates (online)"
        drawn.append(draw_chi_square(values, len(BOX), f"{place}_nis.png", title=title))
    return drawn
