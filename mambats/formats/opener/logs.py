"""Logs of robots and what mambats saves itself."""

from __future__ import annotations

from pathlib import Path

from mambats.formats.opener.look import Format, Look
from mambats.formats.repair import Policy
from mambats.series import Recording


def _saved(path: Path, policy: Policy) -> list[Recording]:
    from mambats.formats.store import open_recording

    return [open_recording(path)]


def _bag(path: Path, policy: Policy) -> list[Recording]:
    from mambats.formats.bags import read_bag

    return [read_bag(path, policy)]


def _is_bag_file(look: Look) -> bool:
    return look.head.startswith((b"\x89MCAP0\r\n", b"#ROSBAG V", b"SQLite format 3\0"))


def _is_bag_folder(look: Look) -> bool:
    return look.has("*.mcap") or look.has("*.db3*") or (look.has("metadata.yaml") and look.has("*.mcap*"))


FORMATS = (
    Format(
        "recording", "a folder with recording.json (save_recording)", lambda look: look.has("recording.json"), _saved
    ),
    Format("bag", "a ROS 1 bag, a ROS 2 .db3 or an MCAP file, by its first bytes", _is_bag_file, _bag),
    Format("bag folder", "a ROS 2 bag: a folder with .mcap or .db3 files", _is_bag_folder, _bag),
)
