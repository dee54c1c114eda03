"""Definitions of message types: those in the file where it has them, else those of ROS."""

from __future__ import annotations

from typing import Any

from mambats.formats.bags.container import Channel
from mambats.formats.messages.layout import Wire


class Types:
    """Definitions by name, for one wire format after the other."""

    def __init__(self) -> None:
        self._known: dict[Wire, dict[str, Any]] = {}

    def of(self, channel: Channel) -> dict[str, Any]:
        """Return the definitions that a channel's messages need.

        Raises:
            ValueError: If the channel's own text cannot be read.
        """
        from rosbags.typesys import TypesysError, get_types_from_idl, get_types_from_msg

        wire: Wire = channel.wire or "cdr"
        known = dict(self._standard(wire))
        if not channel.definition.strip():
            return known
        try:
            if channel.form == "idl":
                known.update(get_types_from_idl(_idl(channel.definition)))
            else:
                known.update(get_types_from_msg(channel.definition, channel.type))
        except TypesysError as error:
            raise ValueError(f"its definition cannot be read ({error})") from error
        return known

    def _standard(self, wire: Wire) -> dict[str, Any]:
        from rosbags.typesys import Stores, get_typestore

        if wire not in self._known:
            store = Stores.ROS1_NOETIC if wire == "ros1" else Stores.ROS2_HUMBLE
            self._known[wire] = dict(get_typestore(store).fielddefs)
        return self._known[wire]


def _idl(text: str) -> str:
    """Join the parts of an IDL text, each under a line of `=` and one that names it."""
    rule = "=" * 80 + "\n"
    parts = [part.split("\n", 1)[1] for part in text.split(rule)[1:]] if text.startswith(f"{rule}IDL: ") else [text]
    return "\n".join(parts)
