"""Measurements by Zenoh, the wire of ROS 2's rmw_zenoh: zenoh:KEY, zenoh:KEY@ENDPOINT, zenoh:KEY@listen=ENDPOINT."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from mambats.formats.error import DataError
from mambats.streaming.engine import Engine, Packet
from mambats.streaming.sources.inbox import Inbox
from mambats.streaming.sources.opener import SourceOptions
from mambats.streaming.sources.wire import Wire

#: Where publishers find us if nothing else is said: this machine alone.
LOOPBACK = "tcp/127.0.0.1:7447"
#: `DOMAIN/TOPIC/PACKAGE::msg::dds_::TYPE_/HASH`, the key of a topic under rmw_zenoh.
_RMW = re.compile(r"\d+/(?P<topic>.+)/(?P<package>\w+)::msg::dds_::(?P<type>\w+)_/[^/]+")


class ZenohSource:
    """Take what is published under a key expression.

    Keys of rmw_zenoh carry a type and are read as CDR; all others are JSON (see `Wire`).

    Args:
        key: Key expression, such as `robot/*` or `0/imu/**`.
        wire: What decodes.
        endpoint: To connect to, a router for instance; None listens.
        listen: Where to listen.
        rows: Robots.
        inbox: Between the threads.
    """

    #: What was taken before is not sent again: a resumed run passes nothing over.
    live = True

    def __init__(
        self, key: str, wire: Wire, endpoint: str | None = None, listen: str = LOOPBACK, rows: int = 1,
        inbox: Inbox | None = None,
    ) -> None:  # fmt: skip
        self.key, self.wire, self.endpoint, self.listen, self.rows = key, wire, endpoint, listen, rows
        self.inbox = inbox or Inbox()

    def packets(self) -> Iterator[Packet | DataError]:
        """Yield packets as they come; ends when the inbox is closed.

        Raises:
            DataError: If the endpoint cannot be had, or the key is none.
        """
        with self.receiving():
            yield from self.inbox

    @contextmanager
    def receiving(self) -> Generator[None]:
        """Fill the inbox meanwhile; several sources may share one.

        Raises:
            DataError: If the endpoint cannot be had, or the key is none.
        """
        import zenoh

        try:
            session = zenoh.open(self._config(zenoh))
            session.declare_subscriber(self.key, self._take)
        except zenoh.ZError as error:
            raise DataError(f"zenoh:{self.key}: {error}. Check key and endpoint.") from error
        try:
            yield
        finally:
            session.close()

    def _config(self, zenoh: Any) -> Any:
        config = zenoh.Config()
        settings: dict[str, Any] = {"scouting/multicast/enabled": False, "scouting/gossip/enabled": False}
        if self.endpoint is None:
            settings |= {"mode": "peer", "listen/endpoints": [self.listen], "connect/endpoints": []}
        else:
            settings |= {"mode": "client", "connect/endpoints": [self.endpoint], "listen/endpoints": []}
        for name, value in settings.items():
            config.insert_json5(name, json.dumps(value))
        return config

    def _take(self, sample: Any) -> None:
        """Decode and hold a message; called by a thread of Zenoh's."""
        key = str(sample.key_expr)
        known = _RMW.fullmatch(key)
        if known is None:
            self.inbox.put(self.wire.packet(key, sample.payload.to_bytes()))
            return
        ros_type = f"{known['package']}/msg/{known['type']}"
        self.inbox.put(self.wire.packet(known["topic"], sample.payload.to_bytes(), ros_type))


def open_source(place: str, engine: Engine, options: SourceOptions) -> ZenohSource:
    """Open KEY, KEY@ENDPOINT or KEY@listen=ENDPOINT.

    Raises:
        DataError: If there is no key.
        ModuleNotFoundError: If eclipse-zenoh is not installed; says what to install.
    """
    if importlib.util.find_spec("zenoh") is None:
        raise ModuleNotFoundError("zenoh: sources need eclipse-zenoh: pip install 'mambats[live]'.")
    key, _, where = place.partition("@")
    if not key:
        raise DataError("zenoh: names no key. Give zenoh:KEY, as zenoh:robot/*.")
    listens = where.startswith("listen=")
    wire = Wire(engine.streams, {topic: name for name, topic in options.names})
    return ZenohSource(
        key, wire, None if listens or not where else where, where.removeprefix("listen=") if listens else LOOPBACK,
        options.rows or 1,
    )  # fmt: skip
