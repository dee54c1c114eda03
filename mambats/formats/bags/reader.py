"""A bag to one recording."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from mambats.formats.bags.container import Block, Channel, Container
from mambats.formats.bags.mcap_file import MAGIC as MCAP
from mambats.formats.bags.mcap_file import McapFile
from mambats.formats.bags.ros1 import MAGIC as ROS1
from mambats.formats.bags.ros1 import Ros1Bag
from mambats.formats.bags.ros2 import Ros2Bag
from mambats.formats.bags.types import Types
from mambats.formats.error import DataError
from mambats.formats.messages.fields import Camera, Collector, Parts, Topic
from mambats.formats.messages.kinds import KINDS
from mambats.formats.messages.layout import Layouts, MessageError
from mambats.formats.repair import REFUSE, Policy
from mambats.series import FrameTree, ImageStream, Recording

_PACKED = re.compile(rb"compression_mode:\s*[\"']?message", re.IGNORECASE)
SQLITE = b"SQLite format 3\0"
TRUTH = "truth/"  # streams under this topic are ground truth, never an input


def read_bag(path: Path | str, policy: Policy = REFUSE, names: Mapping[str, str] | None = None) -> Recording:
    """Read a ROS 1 bag, a ROS 2 bag or an MCAP file; no ROS is needed.

    Each topic becomes the stream of its name without the first slash. Stamps are those of the headers; the log's where
    a type has none, or all are 0, which is reported. `/tf_static` becomes the calibration tree, `/tf` a pose stream for
    each child (`tf/base_link`). Odometry also gives `odom/twist`, an IMU with an orientation `imu/orientation`. Types
    that are not known are reported with their number of messages.

    Args:
        path: `.bag`, `.mcap` or `.db3`, or the folder of a ROS 2 bag.
        policy: What to do with clocks that do not rise, quaternions not of length 1, and files that are cut off.
        names: Names of streams by topic, such as {"/imu/data": "imu"}.

    Raises:
        DataError: If the file is none of these, or a fault is one that the policy refuses.
        ModuleNotFoundError: If rosbags or mcap is not installed (`pip install 'mambats[robot]'`).
    """
    place = Path(path)
    check_installed()
    reading = _Reading(place, policy, dict(names or {}))
    repairs: list[str] = []
    for container in containers(place, policy):
        for block in container.blocks():
            reading.take(container, block)
        repairs += container.repairs
    return reading.recording(repairs)


def containers(place: Path, policy: Policy = REFUSE) -> list[Container]:
    """Open the files of a bag.

    Raises:
        DataError: If there are none.
    """
    if place.is_dir():
        # rosbags unpacks messages that the recorder packed one by one.
        packed = (place / "metadata.yaml").is_file() and _PACKED.search((place / "metadata.yaml").read_bytes())
        if packed:
            return [Ros2Bag(place, policy)]
        files = sorted(place.glob("*.mcap"), key=lambda file: (len(file.name), file.name))
        if files:
            return [McapFile(file, policy) for file in files]
        if (place / "metadata.yaml").is_file() or any(place.glob("*.db3*")):
            return [Ros2Bag(place, policy)]
        raise DataError(f"{place}: no bag is here: needed metadata.yaml with .db3 or .mcap files.")
    if not place.is_file():
        raise DataError(f"{place}: no such file. Give a .bag, .mcap or .db3 file, or the folder of a ROS 2 bag.")
    with place.open("rb") as file:
        head = file.read(16)
    if head.startswith(MCAP):
        return [McapFile(place, policy)]
    if head.startswith(ROS1):
        return [Ros1Bag(place, policy)]
    if head.startswith(SQLITE):
        return [Ros2Bag(place, policy)]
    what = "the file is empty" if not head else f"it begins with {head[:8]!r}"
    raise DataError(f"{place}: is no ROS bag and no MCAP file ({what}). Give a .bag, .mcap or .db3 file.")


class _Reading:
    """Collectors by topic, and what was not read."""

    def __init__(self, place: Path, policy: Policy, names: dict[str, str]) -> None:
        self.place = place
        self.policy = policy
        self.names = names
        self.types = Types()
        self.collectors: dict[tuple[str, str], Collector | None] = {}
        self.unread: dict[tuple[str, str], int] = {}
        self.lost: list[str] = []

    def take(self, container: Container, block: Block) -> None:
        for number, messages in block.messages.items():
            channel = container.channels.get(number)
            if channel is None:
                self._unread(("channel", f"{number} that is not described"), len(messages))
                continue
            key = (channel.topic, channel.type)
            if key not in self.collectors:
                self.collectors[key] = self._collector(channel)
            collector = self.collectors[key]
            if collector is None:
                self._unread(key, len(messages))
            else:
                self._add(collector, messages, np.array(block.logs[number], np.int64))

    def _add(self, collector: Collector, messages: list[bytes], logs: np.ndarray) -> None:
        try:
            collector.add(messages, logs)
        except MessageError as error:
            if self.policy.torn == "refuse":
                first = collector.count
                raise DataError(
                    f"{collector.topic.place.name}: among messages {first} to {first + len(messages) - 1} one is not "
                    f"{collector.layouts.name} as the file defines it: {error}. Leave out bad ones with torn='repair'."
                ) from error
            self._one_by_one(collector, messages, logs)

    def _one_by_one(self, collector: Collector, messages: list[bytes], logs: np.ndarray) -> None:
        bad: list[str] = []
        for row, message in enumerate(messages):
            try:
                collector.add([message], logs[row : row + 1])
            except MessageError as error:
                collector.count += 1
                bad.append(f"the first is message {collector.count - 1}: {error}")
        self.lost.append(f"{collector.topic.place.name}: {len(bad)} messages that are damaged, left out, {bad[0]}")

    def _unread(self, key: tuple[str, str], count: int) -> None:
        self.unread[key] = self.unread.get(key, 0) + count

    def _collector(self, channel: Channel) -> Collector | None:
        if channel.wire is None or channel.type not in KINDS:
            return None
        stream = self.names.get(channel.topic, channel.topic.strip("/") or "topic")
        topic = Topic(channel.topic, stream, self.place.name, self.policy)
        try:
            layouts = Layouts(self.types.of(channel), channel.type, channel.wire)
        except ValueError as error:
            raise DataError(
                f"{topic.place.name}: {channel.type}: {error}. Record it again, or leave it out."
            ) from error
        return Collector(layouts, KINDS[channel.type](), topic)

    def recording(self, repairs: list[str]) -> Recording:
        whole = Parts(repairs=[*repairs, *self.lost])
        for collector in self.collectors.values():
            if collector is not None:
                _join(whole, collector.build(), collector.topic)
        whole.repairs += [
            f"{self.place.name}, topic {topic}: {count} messages of type {kind!r}, which is not read"
            for (topic, kind), count in self.unread.items()
        ]
        images = {name: _with_camera(name, stream, whole.cameras) for name, stream in whole.images.items()}
        try:
            tree = FrameTree(tuple(whole.edges))
        except ValueError as error:
            raise DataError(f"{self.place}, static transforms: {error}") from error
        truth = {name.removeprefix(TRUTH): stream for name, stream in whole.streams.items() if name.startswith(TRUTH)}
        streams = {name: stream for name, stream in whole.streams.items() if not name.startswith(TRUTH)}
        return Recording(
            self.place.name.split(".")[0], streams, {}, whole.ragged, images, tree, truth, tuple(whole.repairs)
        )


def _join(whole: Parts, part: Parts, topic: Topic) -> None:
    taken = {*whole.streams, *whole.ragged, *whole.images}
    for name in (*part.streams, *part.ragged, *part.images):
        if name in taken:
            raise DataError(f"{topic.place.name}: there are two streams {name!r}. Name one of them with `names`.")
    whole.streams.update(part.streams)
    whole.ragged.update(part.ragged)
    whole.images.update(part.images)
    whole.cameras.update(part.cameras)
    whole.edges += [edge for edge in part.edges if edge not in whole.edges]
    whole.repairs += part.repairs


def _with_camera(name: str, stream: ImageStream, cameras: Mapping[str, Camera]) -> ImageStream:
    """Find the camera_info beside or above a picture's topic."""
    parts = name.split("/")
    for depth in range(len(parts) - 1, -1, -1):
        camera = cameras.get("/" + "/".join([*parts[:depth], "camera_info"]))
        if camera is not None:
            straight = "rect" in name
            matrix, distortion = (camera.rectified, ()) if straight else (camera.matrix, camera.distortion)
            return replace(stream, intrinsics=matrix, distortion=distortion)
    return stream


def check_installed() -> None:
    """Refuse to go on without the packages that read bags, naming the extra."""
    try:
        import mcap
        import rosbags
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"bags and MCAP files need {error.name}, which is not installed: pip install 'mambats[robot]'"
        ) from error
    _ = mcap, rosbags
