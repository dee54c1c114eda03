"""Real peers in other processes: a Zenoh client, an MQTT client through a real broker."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from mambats.formats.error import DataError
from mambats.streaming import Packet, Policy, StreamRunner
from mambats.streaming.sources import SourceOptions, open_source
from mambats.streaming.sources.several import joined
from tests.mambats.streaming.publisher import messages
from tests.mambats.streaming.toy import Leaky
from tests.mambats.track.worlds import straight

PUBLISHER = Path(__file__).with_name("publisher.py")
RECIPES = Path(__file__).resolve().parents[3] / "recipes" / "track"
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


def test_two_peers_at_once_feed_one_stream():
    pytest.importorskip("zenoh", reason="eclipse-zenoh is not installed: live streams are not tested")
    ports = [free_port(), free_port()]
    addresses = [f"zenoh:robot/*@listen=tcp/127.0.0.1:{port}" for port in ports]
    both = joined([open_source(address, Leaky(), SourceOptions()) for address in addresses], addresses)
    half = len(list(messages("20")))
    words = [[sys.executable, str(PUBLISHER), "zenoh", f"tcp/127.0.0.1:{port}", "20"] for port in ports]
    peers, found = [], []

    def publish():
        assert all(listens(port) for port in ports)
        peers.extend(subprocess.Popen(one, stdin=subprocess.PIPE) for one in words)
        end = time.monotonic() + 30
        while len(found) < 2 * half and time.monotonic() < end:
            time.sleep(0.01)
        for peer in peers:
            peer.communicate(b"\n", timeout=20)
        both.inbox.close()

    thread = threading.Thread(target=publish)
    thread.start()
    for item in both.packets():
        found.append(item)
    thread.join()
    runner = StreamRunner(Leaky(), Policy(lateness_ns=10**9))
    for packet in found:
        runner.push(*packet)
    table = runner.counters.table()  # both say the same, so that all of one is a duplicate
    assert table["received"] == 2 * half and table["duplicate"] == half + 1 and runner.counters.balanced()
    assert not any(listens(port, 0) for port in ports)


@pytest.fixture
def broker(tmp_path):
    """A real mosquitto on this machine alone; its port."""
    pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed: live streams are not tested")
    mosquitto = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if mosquitto is None:
        pytest.skip("there is no mosquitto: install the broker to test MQTT")
    port = free_port()
    (tmp_path / "broker.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nsys_interval 1\n")
    process = subprocess.Popen([mosquitto, "-c", str(tmp_path / "broker.conf")], stderr=subprocess.DEVNULL)
    assert listens(port)
    yield port
    process.terminate()
    process.wait()


@pytest.mark.slow
def test_an_mqtt_peer_through_a_real_broker(broker):
    source = open_source(f"mqtt:robot/+@127.0.0.1:{broker}", Leaky(), SourceOptions())
    # The broker keeps nothing for those who come later: wait until it answered the subscription.
    holds(received(source, lambda: source.subscribed.wait(20), ("mqtt", str(broker))))


@pytest.mark.slow
def test_a_tracker_fed_by_zenoh_and_mqtt_at_once_until_it_is_told_to_stop(broker, tmp_path):
    pytest.importorskip("zenoh", reason="eclipse-zenoh is not installed: live streams are not tested")
    found, _ = straight(bodies=3, frames=16)
    ends, parts = found.splits.tolist(), {"zenoh": [], "mqtt": []}
    for at, stamp in enumerate(found.stamps.tolist()):
        table = torch.cat([found.boxes, found.score[:, None]], 1)[ends[at] : ends[at + 1]]
        parts["mqtt" if at % 2 else "zenoh"].append(json.dumps({"stamp_ns": stamp, "boxes": table.tolist()}))
    port, sink = free_port(), tmp_path / "out.jsonl"
    words = ["run", "--tracker", str(RECIPES / "kitti_car.yaml"), "--lateness", "3600", "--sink", str(sink),
             "--source", f"zenoh:robot/*@listen=tcp/127.0.0.1:{port}",
             "--source", f"mqtt:robot/+@127.0.0.1:{broker}", "--snapshot", str(tmp_path / "kept"),
             "--every", "0.001"]  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "mambats.cli", *words], stderr=subprocess.PIPE, text=True)
    told = []
    listener = threading.Thread(target=lambda: [told.append(line) for line in process.stderr])
    listener.start()
    try:
        assert listens(port, 60) and subscribed(broker)
        for by, where in (("zenoh", f"tcp/127.0.0.1:{port}"), ("mqtt", str(broker))):
            (tmp_path / by).write_text("\n".join(parts[by]) + "\n")
            peer = [sys.executable, str(PUBLISHER), by, where, str(tmp_path / by)]
            subprocess.run(peer, input=b"\n", timeout=60, check=True)
        end = time.monotonic() + 60
        while not any("used 16" in line for line in told) and time.monotonic() < end:
            time.sleep(0.1)
    finally:
        process.terminate()
        process.wait(60)
        listener.join()
    assert process.returncode == 0, told
    assert "16 packets" in told[-1] and "used 16, duplicate 0, late 0, rejected 0, waiting 0" in told[-1], told
    assert list((tmp_path / "kept").iterdir())


def subscribed(port, seconds=30.0):
    """Wait until the broker counts a subscription beside ours."""
    from paho.mqtt import client, enums

    count, peer = [0], client.Client(enums.CallbackAPIVersion.VERSION2)
    peer.on_message = lambda _, __, message: count.append(int(message.payload))
    peer.connect("127.0.0.1", port)
    peer.subscribe("$SYS/broker/subscriptions/count")
    peer.loop_start()
    end = time.monotonic() + seconds
    while count[-1] < 2 and time.monotonic() < end:
        time.sleep(0.1)
    peer.disconnect()
    peer.loop_stop()
    return count[-1] >= 2


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
