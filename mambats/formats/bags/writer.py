"""A recording to an MCAP file of ROS 2 messages, which Foxglove, rosbags and ROS 2 open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mambats.formats.bags.reader import TRUTH
from mambats.formats.error import DataError
from mambats.formats.messages.encode import IMU, Encoder, Lane, partner
from mambats.formats.messages.motion import POSE, TWIST
from mambats.series import Recording, Stream

LAST = 2**31 * 10**9  # a header counts seconds in 32 bits
#: What ROS 2 must know of /tf_static: a late reader gets the last message too.
_EVER = "\n    sec: 9223372036\n    nsec: 854775807\n"
LATCHED = (
    "- history: 1\n  depth: 1\n  reliability: 1\n  durability: 1\n"
    f"  deadline:{_EVER}  lifespan:{_EVER}  liveliness: 1\n  liveliness_lease_duration:{_EVER}"
    "  avoid_ros_namespace_conventions: false\n"
)


def write_mcap(recording: Recording, path: Path | str) -> tuple[str, ...]:
    """Write what ROS has messages for, in the order of the stamps, which are headers and log times alike.

    `wx .. az` is sensor_msgs/Imu (with `NAME/orientation`), `mx my mz` MagneticField, `latitude longitude altitude`
    NavSatFix, `px py pz` PointStamped, `px .. qw` PoseStamped (Odometry with `NAME/twist`, TF where the name is
    `tf/CHILD`), `vx .. wz` TwistStamped; tables with `x y z` PointCloud2; pictures CompressedImage or Image; the
    calibration tree `/tf_static`. Ground truth goes under `/truth`.

    Args:
        recording: What to write.
        path: New file; one that is there is replaced when the new one is whole.

    Returns:
        Lines about what ROS has no message for and was left out.

    Raises:
        DataError: If a stamp does not fit a header, or nothing can be written.
        ModuleNotFoundError: If mcap or rosbags is not installed (`pip install 'mambats[robot]'`).
    """
    from mambats.formats.bags.reader import check_installed

    check_installed()
    from rosbags.typesys import Stores, get_typestore

    store, file = get_typestore(Stores.ROS2_HUMBLE), Path(path)
    left: list[str] = []
    lanes = list(_lanes(recording, Encoder(store.fielddefs), left))
    if not lanes or (left and all(lane.topic == "/tf_static" for lane in lanes)):
        raise DataError(f"{recording.name}: ROS has messages for none of its streams. {' '.join(left)}")
    for lane in lanes:
        if len(lane.stamps) and not 0 <= lane.stamps[0] <= lane.stamps[-1] < LAST:
            raise DataError(
                f"{recording.name}, {lane.topic}: stamps go from {lane.stamps[0]} to {lane.stamps[-1]} ns, a ROS "
                f"header holds 0 to {LAST} (1970 to 2038). Shift the clock first."
            )
    texts = {name: store.generate_msgdef(name, ros_version=2)[0] for name in {lane.type for lane in lanes}}
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.part")
    try:
        _write(draft, lanes, texts)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)
    return tuple(left)


def _write(path: Path, lanes: list[Lane], texts: dict[str, str]) -> None:
    from mcap.writer import Writer

    stamps = np.concatenate([lane.stamps for lane in lanes])
    numbers = np.repeat(np.arange(len(lanes)), [len(lane.stamps) for lane in lanes])
    rows = np.concatenate([np.arange(len(lane.stamps)) for lane in lanes])
    order = np.argsort(stamps, kind="stable")
    with path.open("wb") as file:
        writer = Writer(file)
        writer.start(profile="ros2", library="mambats")
        schemas = {name: writer.register_schema(name, "ros2msg", text.encode()) for name, text in texts.items()}
        channels: dict[str, int] = {}
        for lane in lanes:
            extra = {"offered_qos_profiles": LATCHED} if lane.topic == "/tf_static" else {}
            if lane.topic not in channels:
                channels[lane.topic] = writer.register_channel(lane.topic, "cdr", schemas[lane.type], extra)
        for number, row, stamp in zip(
            numbers[order].tolist(), rows[order].tolist(), stamps[order].tolist(), strict=True
        ):
            lane = lanes[number]
            writer.add_message(channels[lane.topic], stamp, lane.message(row), stamp, row)
        writer.finish()


def _lanes(recording: Recording, encoder: Encoder, left: list[str]) -> Iterator[Lane]:
    if recording.frames.edges:
        # First of all, so that whoever plays the file knows the frames from the start.
        yield encoder.static(recording.frames, _first(recording))
    for part, prefix in ((recording.streams, "/"), (recording.truth, f"/{TRUTH}")):
        joined = {f"{name}{end}" for name in part for end in ("/orientation", "/twist") if partner(part, name)}
        for name, stream in part.items():
            lane = _stream(encoder, prefix, name, stream, partner(part, name)) if name not in joined else None
            if lane is not None:
                yield lane
                if stream.channels == POSE[:3] and stream.covariance is not None:
                    left.append(f"{name}: geometry_msgs/PointStamped has no covariance; it was left out.")
            elif name not in joined:
                left.append(f"{name}: ROS has no message of {', '.join(stream.channels[:8])}; it was left out.")
    for name, table in recording.ragged.items():
        if {"x", "y", "z"} <= set(table.channels) and not table.labels:
            yield encoder.cloud(_topic("/", name), table)
        else:
            left.append(f"{name}: only tables of points x y z are written, not {', '.join(table.channels[:8])}.")
    for name, images in recording.images.items():
        if not len(images):
            continue
        yield encoder.picture(_topic("/", name), images)
        if images.intrinsics is not None:
            yield encoder.camera(_topic("/", name.rpartition("/")[0] or name) + "/camera_info", images)


def _stream(encoder: Encoder, prefix: str, name: str, stream: Stream, other: Stream | None) -> Lane | None:
    topic = _topic(prefix, name)
    if stream.channels == IMU:
        return encoder.imu(topic, stream, other)
    if stream.channels == POSE and other is not None:
        return encoder.odometry(topic, stream, other)
    if stream.channels == POSE and prefix == "/" and name.startswith("tf/"):
        return encoder.moving(name.rpartition("/")[2], stream)
    if stream.channels == POSE:
        return encoder.pose(topic, stream)
    if stream.channels == TWIST:
        return encoder.twist(topic, stream)
    if stream.channels == POSE[:3]:
        return encoder.position(topic, stream)
    if stream.channels == ("mx", "my", "mz"):
        return encoder.magnetic(topic, stream)
    return encoder.satellite(topic, stream) if stream.channels == ("latitude", "longitude", "altitude") else None


def _topic(prefix: str, name: str) -> str:
    return prefix + name.strip("/")


def _first(recording: Recording) -> int:
    parts = [*recording.streams.values(), *recording.ragged.values(), *recording.images.values()]
    return min((int(part.stamps[0]) for part in parts if len(part)), default=0)
