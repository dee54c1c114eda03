"""ROS messages in CDR as stamps and values, by what the engine's stream is wide. rosbags knows the types."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from mambats.formats.error import DataError

_XYZ = ("x", "y", "z")


def _under(path: str, names: tuple[str, ...] = _XYZ) -> tuple[str, ...]:
    return tuple(f"{path}.{name}" for name in names)


_POSE, _TURN = _under("position"), _under("orientation", ("x", "y", "z", "w"))
_PLANAR = ("twist.linear.x", "twist.angular.z")
_TWIST = (*_under("twist.linear"), *_under("twist.angular"))
_POSE_STAMPED = tuple(f"pose.{path}" for path in (*_POSE, *_TURN))
_POSE_INNER = tuple(f"pose.pose.{path}" for path in (*_POSE, *_TURN))

#: Fields that are a stream's values, by type: the first choice with as many as the stream has channels.
FIELDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "sensor_msgs/msg/Imu": ((*_under("angular_velocity"), *_under("linear_acceleration")),),
    "sensor_msgs/msg/MagneticField": (_under("magnetic_field"),),
    "sensor_msgs/msg/NavSatFix": (("latitude", "longitude", "altitude"),),
    "sensor_msgs/msg/FluidPressure": (("fluid_pressure",),),
    "sensor_msgs/msg/Temperature": (("temperature",),),
    "sensor_msgs/msg/Range": (("range",),),
    "geometry_msgs/msg/PointStamped": (_under("point"),),
    "geometry_msgs/msg/Vector3Stamped": (_under("vector"),),
    "geometry_msgs/msg/PoseStamped": (_POSE_STAMPED[:3], _POSE_STAMPED),
    "geometry_msgs/msg/PoseWithCovarianceStamped": (_POSE_INNER[:3], _POSE_INNER),
    "geometry_msgs/msg/TwistStamped": (_PLANAR, _TWIST),
    "nav_msgs/msg/Odometry": (
        tuple(f"twist.{path}" for path in _PLANAR),
        _POSE_INNER[:3],
        _POSE_INNER,
        (*_POSE_INNER, *(f"twist.{path}" for path in _TWIST)),
    ),
}


@functools.cache
def _store() -> Any:
    try:
        from rosbags.typesys import Stores, get_typestore
    except ModuleNotFoundError as error:
        raise DataError("ROS messages are read through rosbags: pip install 'mambats[live]'.") from error
    return get_typestore(Stores.ROS2_HUMBLE)


def decode(topic: str, body: bytes, ros_type: str, width: int) -> tuple[int, npt.NDArray[np.float32]]:
    """Return stamp [ns] and values (width,) of a message.

    Args:
        topic: For messages.
        body: CDR, with its four bytes of encapsulation.
        ros_type: `package/msg/Type`, of `FIELDS`.
        width: Channels of the stream.

    Raises:
        DataError: If the type is not read, has no fields for so many channels, or the bytes are not of it.
    """
    choices = FIELDS.get(ros_type)
    paths = next((paths for paths in choices or () if len(paths) == width), None)
    if paths is None:
        known = [len(paths) for paths in choices] if choices else f"only {', '.join(FIELDS)}"
        raise DataError(f"{topic}: {ros_type[:80]} for a stream of {width} channels: there is {known}.")
    try:
        found = _store().deserialize_cdr(body, ros_type)
        stamp = found.header.stamp
        values = np.array([_field(found, path) for path in paths], np.float64)
        with np.errstate(over="ignore"):  # infinite: not measured, for the stream
            return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec), values.astype(np.float32)
    except DataError:
        raise
    except Exception as error:  # bytes of a stranger: rosbags raises what numpy, struct and codecs do
        raise DataError(f"{topic}: is not a {ros_type} ({type(error).__name__}).") from error


def _field(message: Any, path: str) -> float:
    for name in path.split("."):
        message = getattr(message, name)
    return float(message)
