"""ROS 2 bags in SQLite, read by rosbags, and folders of MCAP files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mambats.formats.bags.container import Block, Channel, Damage
from mambats.formats.error import DataError
from mambats.formats.repair import REFUSE, Policy

MANY = 20000  # messages a block


class Ros2Bag:
    """A `.db3` file, or a folder with metadata.yaml, of SQLite or compressed files.

    Args:
        path: File or folder.
        policy: `torn` says what to do where the data base ends early.

    Raises:
        DataError: If it cannot be opened.
    """

    def __init__(self, path: Path, policy: Policy = REFUSE) -> None:
        self.path = path
        self.repairs: list[str] = []
        self.channels: dict[int, Channel] = {}
        self._damage = Damage(path, policy, self.repairs)

    def blocks(self) -> Iterator[Block]:
        """Yield all messages in the order of the log.

        Raises:
            DataError: If the bag cannot be opened, or is damaged and the policy refuses that.
        """
        from rosbags.rosbag2 import Reader

        try:
            reader = Reader(self.path)
            reader.open()
        except Exception as error:  # rosbags, SQLite and YAML each have errors of their own
            raise DataError(f"{self.path}: cannot be opened as a ROS 2 bag ({error}). Is the copy whole?") from error
        try:
            self.channels = {connection.id: _channel(connection) for connection in reader.connections}
            yield from self._blocks(reader)
        finally:
            reader.close()

    def _blocks(self, reader: Any) -> Iterator[Block]:
        block, count = Block(), 0
        messages = reader.messages()
        while True:
            try:
                connection, log, message = next(messages)
            except StopIteration:
                break
            except Exception as error:
                self._damage.found(self.path.stat().st_size, f"message {count} cannot be read ({error})")
                break
            block.add(connection.id, log, message)
            count += 1
            if count % MANY == 0:
                yield block
                block = Block()
        yield block


def _channel(connection: Any) -> Channel:
    form = "idl" if connection.msgdef.format.name == "IDL" else "msg"
    return Channel(connection.topic, connection.msgtype, "cdr", connection.msgdef.data, form)
