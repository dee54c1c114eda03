"""All types of messages that are read, by name."""

from __future__ import annotations

from collections.abc import Callable

from mambats.formats.messages import clouds, joints, motion, pictures, sensors, transforms
from mambats.formats.messages.fields import Kind

KINDS: dict[str, Callable[[], Kind]] = {
    **sensors.KINDS,
    **motion.KINDS,
    **transforms.KINDS,
    **clouds.KINDS,
    **pictures.KINDS,
    **joints.KINDS,
}
