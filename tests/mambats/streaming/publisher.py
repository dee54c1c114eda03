"""A peer in another process, `publisher.py zenoh ENDPOINT WHAT` or `publisher.py mqtt PORT WHAT`; ends on a line.

WHAT is a count of messages for the toy engine, or a file of JSON messages, one a line, for `robot/detections`.
"""

import json
import sys
import time
from pathlib import Path


def messages(what):
    """Yield (topic, body); of every tenth stamp a fix too, the last message twice."""
    if not what.isdigit():
        for line in Path(what).read_text().splitlines():
            yield "robot/detections", json.loads(line)
        return
    count = int(what)
    for k in range(count):
        yield "robot/imu", {"stamp_ns": (k + 1) * 5_000_000, "values": [k, 1, 2], "sequence": k}
        if k % 10 == 9:
            yield "robot/gnss", {"stamp_ns": (k + 1) * 5_000_000, "values": [k, None]}
    yield "robot/imu", {"stamp_ns": count * 5_000_000, "values": [count - 1, 1, 2], "sequence": count - 1}


def by_zenoh(endpoint, what):
    """Publish as a client of an endpoint."""
    import zenoh

    config = zenoh.Config()
    for name, value in {"mode": "client", "connect/endpoints": [endpoint], "scouting/multicast/enabled": False}.items():
        config.insert_json5(name, json.dumps(value))
    with zenoh.open(config) as session:
        for topic, body in messages(what):
            session.put(topic, json.dumps(body).encode(), congestion_control=zenoh.CongestionControl.BLOCK)
            time.sleep(0.0002)
        sys.stdin.readline()


def by_mqtt(port, what):
    """Publish through a broker."""
    from paho.mqtt import client, enums

    peer = client.Client(enums.CallbackAPIVersion.VERSION2)
    peer.connect("127.0.0.1", int(port))
    peer.loop_start()
    for topic, body in messages(what):
        peer.publish(topic, json.dumps(body), qos=1).wait_for_publish()
    sys.stdin.readline()


if __name__ == "__main__":
    {"zenoh": by_zenoh, "mqtt": by_mqtt}[sys.argv[1]](sys.argv[2], sys.argv[3])
