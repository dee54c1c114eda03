"""A fusion model fed by other processes: nothing unaccounted for, and how long from a measurement to its answer.

    python datasets/bench_live.py --seconds 60 [--checkpoint best.ckpt] [--broker 127.0.0.1:1883]

One process publishes a robot's inertial unit (200 Hz) and wheels (50 Hz) by Zenoh, another its fixes (10 Hz) by MQTT,
through the broker that is named, else by Zenoh too. Here a navigator reads both through one queue and answers at 10 Hz.
Stamps are the machine's clock when a value is sent, so the latency of an answer is from the tick it is for, and of a
packet from its sending until the stream has taken it. The processes share the machine with whatever else runs on it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from mambats.streaming import ClockRule, Engine, Packet, Policy, StreamRunner
from mambats.streaming.log import Latency
from mambats.streaming.sources import SourceOptions, open_source
from mambats.streaming.sources.inbox import Inbox

ENDPOINT = "tcp/127.0.0.1:17447"
RATES = {"imu": 200, "wheel": 50, "gnss": 10}
VALUES = {"imu": [0.0, 0.0, 0.01, 0.0, 0.0, 9.80665], "wheel": [0.5, 0.01], "gnss": [0.0, 0.0, 0.0]}


def publish(by: str, names: list[str], seconds: float, where: str) -> int:
    """Send each stream at its rate; the place is that of a slow circle, so that no gate minds. Returns the count."""
    send, close = zenoh_peer() if by == "zenoh" else mqtt_peer(where)
    due = sorted((k / RATES[name], name, k) for name in names for k in range(int(seconds * RATES[name])))
    begun = time.monotonic()
    for moment, name, number in due:
        time.sleep(max(0.0, begun + moment - time.monotonic()))
        values = VALUES[name]
        if name == "gnss":
            values = [50 * np.sin(0.01 * moment), 50 * (1 - np.cos(0.01 * moment)), 0.0]
        send(f"robot/{name}", json.dumps({"stamp_ns": time.time_ns(), "values": values, "sequence": number}).encode())
    time.sleep(0.5)
    close()
    return len(due)


def zenoh_peer():
    """Return how to send by Zenoh, and how to end."""
    import zenoh

    config = zenoh.Config()
    for name, value in {"mode": "client", "connect/endpoints": [ENDPOINT], "scouting/multicast/enabled": False}.items():
        config.insert_json5(name, json.dumps(value))
    session = zenoh.open(config)
    block = zenoh.CongestionControl.BLOCK
    return (lambda topic, body: session.put(topic, body, congestion_control=block)), session.close


def mqtt_peer(where: str):
    """Return how to send by MQTT, and how to end."""
    from paho.mqtt import client, enums

    peer = client.Client(enums.CallbackAPIVersion.VERSION2)
    host, _, port = where.rpartition(":")
    peer.connect(host, int(port))
    peer.loop_start()

    def close() -> None:
        peer.disconnect()
        peer.loop_stop()

    return (lambda topic, body: peer.publish(topic, body, qos=1)), close


def engine_of(checkpoint: str | None):
    """Return a navigator's engine, untrained where no checkpoint is named: its steps take as long."""
    import torch

    torch.set_num_threads(1)
    if checkpoint:
        from mambats.bundle.rebuild import any_engine

        return any_engine(checkpoint)
    from mambats.encoders.fusion import EventFusion
    from mambats.odometry import FilterBank, Navigator
    from mambats.streaming.engines.navigator import NavigatorEngine

    encoder = EventFusion(Navigator.channels(), 64, 2, period_ns=100_000_000)
    return NavigatorEngine(Navigator(encoder, FilterBank()).eval())


def run(given: argparse.Namespace) -> dict[str, object]:
    """Start the peers, take what comes, and account for it."""
    engine = engine_of(given.checkpoint)
    policy = Policy(
        lateness_ns=200_000_000, tick_ns=engine.tick_ns, provisional=True, wait_ns=given.wait * 1_000_000,
        clock=ClockRule(ahead_ns=60_000_000_000),
    )  # fmt: skip
    runner, inbox = StreamRunner(engine, policy), Inbox()
    addresses = [f"zenoh:robot/*@listen={ENDPOINT}", *([f"mqtt:robot/+@{given.broker}"] if given.broker else [])]
    sources = [open_source(address, engine, SourceOptions()) for address in addresses]
    for source in sources:
        source.inbox = inbox
    warm(engine, policy)
    wait, answered, errors, answers = Latency(), Latency(), 0, 0
    with ExitStack() as held:
        for source in sources:
            held.enter_context(source.receiving())
        threading.Thread(target=conduct, args=(given, inbox), daemon=True).start()
        for item in inbox:
            if not isinstance(item, Packet):
                errors += 1
                continue
            # The first word on each tick, which a late packet may still change.
            made = [answer for answer in runner.push(*item) if answer.outputs and not answer.settled]
            now, answers = time.time_ns(), answers + len(made)
            wait.add((now - item.stamp_ns) / 1e3)
            for answer in made:
                answered.add((now - answer.stamp_ns) / 1e3)
    sent = sum(int(given.seconds * rate) for rate in RATES.values())
    table = runner.counters.table()
    told = {name: {f"p{int(100 * q)}": round(one.quantile(q) / 1e3, 2) for q in (0.5, 0.9, 0.99)}
            for name, one in (("packet ms", wait), ("answer ms", answered))}  # fmt: skip
    fates = {name: table[name] for name in ("used", "duplicate", "late", "rejected", "waiting")}
    return {"sent": sent, "received": table["received"], "errors": errors, "dropped": inbox.dropped, **fates,
            "balanced": runner.counters.balanced(), "answers": answers, "load": os.getloadavg()[0], **told}  # fmt: skip


def warm(engine: Engine, policy: Policy) -> None:
    """Take a second of ticks before anything moves: the first step loads and plans, and packets would wait for it."""
    runner = StreamRunner(engine, policy)
    for k in range(200):
        runner.push("imu", k * 5_000_000, VALUES["imu"])


def conduct(given: argparse.Namespace, inbox: Inbox) -> None:
    """Run the publishers to their end, then close the queue."""
    time.sleep(1.0)  # until the broker has answered the subscription
    peers: list[subprocess.Popen[bytes]] = []
    for by, names in (("zenoh", ["imu", "wheel"]), ("mqtt" if given.broker else "zenoh", ["gnss"])):
        words = [sys.executable, str(Path(__file__)), "--publish", by, *names, "--seconds", str(given.seconds)]
        peers.append(subprocess.Popen([*words, "--broker", given.broker or ""]))
    for peer in peers:
        peer.wait()
    time.sleep(2.0)
    inbox.close()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--checkpoint")
    parser.add_argument("--broker", help="HOST:PORT of an MQTT broker")
    parser.add_argument("--wait", type=int, default=0, help="milliseconds that packets out of order are waited for")
    parser.add_argument("--publish", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.publish:
        publish(given.publish[0], given.publish[1:], given.seconds, given.broker)
    else:
        print(json.dumps(run(given), indent=1))


if __name__ == "__main__":
    main()
