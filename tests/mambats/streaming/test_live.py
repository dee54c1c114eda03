"""Real peers in other processes: a Zenoh client, an MQTT client through a real broker."""

import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mambats.formats.error import DataError
from mambats.streaming import Packet, Policy, StreamRunner
from mambats.streaming.sources import SourceOptions, open_source
from tests.mambats.streaming.toy import Leaky

PUBLISHER = Path(__file__).with_name("publisher.py")
COUNT = 200


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def listens(port, seconds=20.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.02)
    return False


def received(source, ready, words):
    """Start a publisher once `ready` says so; return what came until all is there."""
    found = []

    def publish():
        assert ready()
        peer = subprocess.Popen([sys.executable, str(PUBLISHER), *words, str(COUNT)], stdin=subprocess.PIPE)
        end = time.monotonic() + 30
        while len(found) < COUNT + COUNT // 10 + 1 and time.monotonic() < end:
            time.sleep(0.01)
        peer.communicate(b"\n", timeout=20)
        source.inbox.close()

    thread = threading.Thread(target=publish)
    thread.start()
    for item in source.packets():
        found.append(item)
    thread.join()
    return found


def holds(found):
    """All came, and a stream takes the double once."""
    packets = [item for item in found if isinstance(item, Packet)]
    assert len(packets) == len(found) == COUNT + COUNT // 10 + 1
    assert [p.stamp_ns for p in packets if p.stream == "gnss"] == [(k + 10) * 5_000_000 for k in range(0, COUNT, 10)]
    runner = StreamRunner(Leaky(), Policy(lateness_ns=10**9))
    for packet in packets:
        runner.push(*packet)
    table = runner.counters.table()
    assert table["duplicate"] == 1 and table["received"] == len(found) and runner.counters.balanced()


def test_a_zenoh_peer_in_another_process():
    pytest.importorskip("zenoh", reason="eclipse-zenoh is not installed: live streams are not tested")
    port = free_port()
    endpoint = f"tcp/127.0.0.1:{port}"
    source = open_source(f"zenoh:robot/*@listen={endpoint}", Leaky(), SourceOptions())
    holds(received(source, lambda: listens(port), ("zenoh", endpoint)))


def test_keys_of_rmw_zenoh_carry_a_type():
    pytest.importorskip("zenoh", reason="eclipse-zenoh is not installed: live streams are not tested")
    from mambats.streaming.sources.zenoh import _RMW

    found = _RMW.fullmatch(
        "0/robot/imu/sensor_msgs::msg::dds_::Imu_/RIHS01_7d9a00ff131080897a5ec7e26e315954b8eae3353c3f"
    )
    assert found and found.groupdict() == {"topic": "robot/imu", "package": "sensor_msgs", "type": "Imu"}
    assert _RMW.fullmatch("robot/imu") is None


@pytest.mark.slow
def test_an_mqtt_peer_through_a_real_broker(tmp_path):
    pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed: live streams are not tested")
    mosquitto = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if mosquitto is None:
        pytest.skip("there is no mosquitto: install the broker to test MQTT")
    port = free_port()
    (tmp_path / "broker.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    broker = subprocess.Popen([mosquitto, "-c", str(tmp_path / "broker.conf")], stderr=subprocess.DEVNULL)
    try:
        assert listens(port)
        source = open_source(f"mqtt:robot/+@127.0.0.1:{port}", Leaky(), SourceOptions())
        # The broker keeps nothing for those who come later: wait until it answered the subscription.
        holds(received(source, lambda: source.subscribed.wait(20), ("mqtt", str(port))))
    finally:
        broker.terminate()
        broker.wait()


def test_no_broker_and_no_topic_are_said():
    pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed: live streams are not tested")
    source = open_source(f"mqtt:robot/+@127.0.0.1:{free_port()}", Leaky(), SourceOptions())
    with pytest.raises(DataError, match="no broker answers"):
        next(iter(source.packets()))
    for address in ("mqtt:", "mqtt:a@host:port", "mqtt:a@:1883"):
        with pytest.raises(DataError, match="give mqtt:TOPIC"):
            open_source(address, Leaky(), SourceOptions())
    with pytest.raises(DataError, match="names no key"):
        open_source("zenoh:", Leaky(), SourceOptions())
    with pytest.raises(DataError, match="--stream names"):
        open_source("mqtt:a", Leaky(), SourceOptions(names=(("lidar", "a"),)))
