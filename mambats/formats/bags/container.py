"""What every container of messages is to the reader: topics, and messages in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Protocol

from mambats.formats.error import DataError
from mambats.formats.messages.layout import Wire
from mambats.formats.repair import Policy


@dataclass(frozen=True)
class Channel:
    """One topic of a container, with one type.

    Args:
        topic: Name, `/imu/data`.
        type: Type in the words of ROS 2, `sensor_msgs/msg/Imu`; other encodings keep their own words.
        wire: How its messages are laid out; None where that is not ROS.
        definition: Text that defines the type, empty where the container has none.
        form: `msg` or `idl`.
    """

    topic: str
    type: str
    wire: Wire | None
    definition: str = ""
    form: str = "msg"


@dataclass
class Block:
    """Messages of some channels, in the order of the container."""

    messages: dict[int, list[bytes]] = field(default_factory=dict[int, list[bytes]])
    logs: dict[int, list[int]] = field(default_factory=dict[int, list[int]])

    def add(self, channel: int, log: int, message: bytes) -> None:
        """Add one message with its log time in nanoseconds."""
        append, stamp = self.lists(channel)
        append(message)
        stamp(log)

    def lists(self, channel: int) -> tuple[Callable[[bytes], None], Callable[[int], None]]:
        """Return what appends messages of a channel, and their log times."""
        messages, logs = self.messages.setdefault(channel, []), self.logs.setdefault(channel, [])
        return messages.append, logs.append


class Container(Protocol):
    """A file, or a folder of files, of messages."""

    channels: dict[int, Channel]
    repairs: list[str]

    def blocks(self) -> Iterator[Block]:
        """Yield all messages; `channels` grows as they come, `repairs` says what was left out."""
        ...


class Damage:
    """What to do where a container is cut off or damaged: refuse it, or note it and go on.

    Args:
        path: The file.
        policy: `torn` decides.
        repairs: Where notes go.
    """

    def __init__(self, path: Path, policy: Policy, repairs: list[str]) -> None:
        self.path = path
        self.policy = policy
        self.repairs = repairs

    def found(self, at: int, what: str, left: str = "what follows is left out") -> None:
        """Report damage at a byte.

        Raises:
            DataError: If the policy refuses it.
        """
        if self.policy.torn == "refuse":
            self.refuse(at, what)
        self.repairs.append(f"{self.path.name}, byte {at}: {what}; {left}")

    def refuse(self, at: int, what: str) -> NoReturn:
        """Refuse the file."""
        raise DataError(
            f"{self.path}, byte {at}: {what}. Is the copy whole? Read what is whole with torn='repair' "
            "(`--repair` on the command line)."
        )
