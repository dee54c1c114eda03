"""Measurements by MQTT: mqtt:TOPIC or mqtt:TOPIC@HOST[:PORT], through a broker."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from mambats.formats.error import DataError
from mambats.streaming.engine import Engine, Packet
from mambats.streaming.sources.inbox import Inbox
from mambats.streaming.sources.opener import SourceOptions
from mambats.streaming.sources.wire import Wire


class MqttSource:
    """Take JSON messages (see `Wire`) of a topic from a broker.

    The subscription has quality of service 1, at least once: what comes twice is a duplicate by its stamp.

    Args:
        topic: Topic filter, such as `robot/+`.
        wire: What decodes.
        host: The broker's.
        port: The broker's.
        rows: Robots.
        inbox: Between the threads.
    """

    #: What was taken before is not sent again: a resumed run passes nothing over.
    live = True

    def __init__(
        self, topic: str, wire: Wire, host: str = "127.0.0.1", port: int = 1883, rows: int = 1,
        inbox: Inbox | None = None,
    ) -> None:  # fmt: skip
        self.topic, self.wire, self.host, self.port, self.rows = topic, wire, host, port, rows
        self.inbox = inbox or Inbox()
        #: Set once the broker has answered the subscription: what is published before is lost.
        self.subscribed = threading.Event()

    def packets(self) -> Iterator[Packet | DataError]:
        """Yield packets as they come; ends when the inbox is closed.

        Raises:
            DataError: If no broker answers.
        """
        with self.receiving():
            yield from self.inbox

    @contextmanager
    def receiving(self) -> Generator[None]:
        """Fill the inbox meanwhile; several sources may share one.

        Raises:
            DataError: If no broker answers.
        """
        from paho.mqtt import client, enums

        peer = client.Client(enums.CallbackAPIVersion.VERSION2)
        peer.on_connect = self._subscribe  # after every connection: a broker that was away forgets
        peer.on_subscribe = lambda *_: self.subscribed.set()
        peer.on_message = self._take
        try:
            peer.connect(self.host, self.port)
        except OSError as error:
            raise DataError(
                f"mqtt:{self.topic}: no broker answers at {self.host}:{self.port} ({error}). Start one, or name it: "
                "mqtt:TOPIC@HOST:PORT."
            ) from error
        peer.loop_start()
        try:
            yield
        finally:
            peer.disconnect()
            peer.loop_stop()

    def _subscribe(self, peer: Any, user: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self.inbox.put(DataError(f"mqtt:{self.topic}: the broker refuses: {reason}."))
        else:
            peer.subscribe(self.topic, qos=1)

    def _take(self, peer: Any, user: Any, message: Any) -> None:
        """Decode and hold a message; called by paho's thread."""
        self.inbox.put(self.wire.packet(message.topic, bytes(message.payload)))


def open_source(place: str, engine: Engine, options: SourceOptions) -> MqttSource:
    """Open TOPIC or TOPIC@HOST[:PORT].

    Raises:
        DataError: If there is no topic, or the port is none.
        ModuleNotFoundError: If paho-mqtt is not installed; says what to install.
    """
    if importlib.util.find_spec("paho") is None:
        raise ModuleNotFoundError("mqtt: sources need paho-mqtt: pip install 'mambats[live]'.")
    topic, _, where = place.partition("@")
    host, colon, port = where.rpartition(":") if ":" in where else (where, "", "1883")
    if not topic or not port.isdigit() or not 0 < int(port) < 65536 or (colon and not host):
        raise DataError(f"mqtt:{place}: give mqtt:TOPIC or mqtt:TOPIC@HOST:PORT, as mqtt:robot/+@127.0.0.1:1883.")
    wire = Wire(engine.streams, {topic: name for name, topic in options.names})
    return MqttSource(topic, wire, host or "127.0.0.1", int(port), options.rows or 1)
