"""What became of every packet. The counters add up at any time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from mambats.streaming.moment import Record

Fate = Literal["used", "duplicate", "late", "rejected", "waiting"]
FATES: tuple[Fate, ...] = ("used", "duplicate", "late", "rejected", "waiting")


class Counters:
    """Packets by stream, fate and cause, and values masked within packets that were used.

    A packet is `waiting` until its moment is taken; then it is one of `used`, `duplicate`, `late`, `rejected`, and may
    change between used and rejected while its moment is provisional.
    """

    def __init__(self) -> None:
        self.received: Counter[str] = Counter()
        self.fates: Counter[tuple[str, Fate, str]] = Counter()
        self.masked: Counter[tuple[str, str]] = Counter()
        #: Late packets that fell out of the stream before `drain_late` handed them out, by stream.
        self.undrained: Counter[str] = Counter()

    def receive(self, stream: str, fate: Fate, cause: str = "") -> None:
        """Count a packet that has come."""
        self.received[stream] += 1
        self.fates[stream, fate, cause] += 1

    def decide(self, stream: str, record: Record, sign: int) -> None:
        """Count what became of a packet that waited (`sign` 1), or that it waits again after all (-1)."""
        self.fates[stream, "waiting", ""] -= sign
        self.fates[stream, record.fate, record.cause] += sign
        for cause, count in record.masked.items() if record.fate == "used" else ():
            self.masked[stream, cause] += sign * count

    def total(self, fate: Fate, stream: str | None = None, cause: str | None = None) -> int:
        """Return how many packets had a fate; of one stream, for one cause."""
        return sum(
            count
            for (name, its, why), count in self.fates.items()
            if its == fate and stream in (None, name) and cause in (None, why)
        )

    @property
    def offset(self) -> int:
        """Packets received: where a source has to be read on from."""
        return self.received.total()

    def balanced(self) -> bool:
        """Whether each stream's fates add up to what was received of it."""
        sums: Counter[str] = Counter()
        for (name, _, _), count in self.fates.items():
            sums[name] += count
        return +sums == +self.received and all(count >= 0 for count in self.fates.values())

    def table(self) -> dict[str, Any]:
        """Return `received` and each fate, of all, and by stream under `streams` with causes; zeros left out."""
        streams: dict[str, dict[str, int]] = {name: {"received": count} for name, count in self.received.items()}
        for (name, fate, cause), count in sorted(self.fates.items()):
            for key in {fate, f"{fate}: {cause}" if cause else fate} if count else ():
                streams[name][key] = streams[name].get(key, 0) + count
        for (name, cause), count in sorted(self.masked.items()):
            if count:
                streams[name][f"values masked: {cause}"] = count
        for name, count in sorted(self.undrained.items()):
            streams[name]["late, never handed out"] = count
        return {"received": self.offset, **{fate: self.total(fate) for fate in FATES}, "streams": streams}

    def dump(self) -> dict[str, Any]:
        """Return plain lists for a snapshot."""
        return {
            "received": [[name, count] for name, count in self.received.items()],
            "fates": [[*key, count] for key, count in self.fates.items() if count],
            "masked": [[*key, count] for key, count in self.masked.items() if count],
            "undrained": [[name, count] for name, count in self.undrained.items()],
        }

    @classmethod
    def load(cls, plain: Mapping[str, Any]) -> Counters:
        """Return the counters that `dump` wrote down."""
        counters = cls()
        counters.received.update(dict(plain["received"]))
        counters.fates.update({(name, fate, cause): count for name, fate, cause, count in plain["fates"]})
        counters.masked.update({(name, cause): count for name, cause, count in plain["masked"]})
        counters.undrained.update(dict(plain["undrained"]))
        return counters
