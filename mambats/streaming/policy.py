"""What a stream believes and waits for: plain settings that YAML can name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal, TypeAlias

Limit: TypeAlias = float | Sequence[float] | None
Jump: TypeAlias = Literal["back", "ahead"]
Rule: TypeAlias = Literal["reject", "reset", "clamp"]


@dataclass(frozen=True)
class Gate:
    """What is believed of one sensor. Values that are not finite are never believed.

    Args:
        low: Smallest value there can be, in the data's units, for all channels or for each; None: no limit. A value
            beyond is masked.
        high: Largest, alike.
        saturated: A channel at its limit for so many packets in a row is masked until it leaves it; 0 never.
        stuck: A channel with the very same value in so many packets in a row is masked until it changes; 0 never, as
            is right for a wheel that may stand still.
        innovation: Probability with which a right packet is let in, by the chi-square of the engine's `nis_<stream>`;
            None lets all in.
        timeout_ns: A sensor that was not heard of for longer is named in answers as silent; None never.
        asks: A packet with no value at all asks for an answer, as a forecast of a row that is missing; else it is
            rejected.
    """

    low: Limit = None
    high: Limit = None
    saturated: int = 3
    stuck: int = 0
    innovation: float | None = None
    timeout_ns: int | None = None
    asks: bool = False

    def __post_init__(self) -> None:
        if self.innovation is not None and not 0 < self.innovation < 1:
            raise ValueError(f"innovation is {self.innovation}: need a probability inside (0, 1), as 0.999.")
        for name in ("saturated", "stuck"):
            if getattr(self, name) < 0 or getattr(self, name) == 1:
                raise ValueError(f"{name} is {getattr(self, name)}: need 0 (never) or a run of 2 packets and more.")

    @property
    def looks(self) -> bool:
        """Whether values have to be looked at."""
        return self.low is not None or self.high is not None or self.stuck > 0


@dataclass(frozen=True)
class ClockRule:
    """What to do when a robot's clock jumps. Without limits there are no jumps: old packets are late, pauses are long.

    Args:
        back_ns: A packet older than the newest by more is a jump back; need more than the lateness allowed. None: off.
        back: `reject` the packet; `reset` the robot to a fresh state; `clamp`: time goes on from where it was, and the
            clock is taken as shifted from now on.
        ahead_ns: A packet further ahead than this is a jump ahead. None: off.
        ahead: `reject`; `reset`; `clamp`: the elapsed time that the model is told is at most `ahead_ns`.
        patience: A jump is believed when so many packets of the robot in a row agree on it; those before are rejected,
            so that one wrong stamp does no harm. `reject` never believes.
    """

    back_ns: int | None = None
    back: Rule = "reset"
    ahead_ns: int | None = None
    ahead: Rule = "clamp"
    patience: int = 3

    def __post_init__(self) -> None:
        for name in ("back", "ahead"):
            if getattr(self, name) not in ("reject", "reset", "clamp"):
                raise ValueError(f"{name} is {getattr(self, name)!r}: need reject, reset or clamp.")
        if self.patience < 1:
            raise ValueError(f"patience is {self.patience}: need 1 (believe at once) or more packets.")

    def of(self, jump: Jump) -> Rule:
        """Return what to do about a jump."""
        return self.ahead if jump == "ahead" else self.back


@dataclass(frozen=True)
class Policy:
    """When a moment is taken, when it is settled, and what is remembered.

    A robot's watermark is its newest stamp less `wait_ns`. What lies at or before it is taken; a packet behind it, but
    by at most `lateness_ns`, takes the robot back and is put in its place; an older one is late.

    Args:
        slop_ns: Stamps of different streams so near to the first of them are one moment, at the latest one's stamp.
        wait_ns: How long a moment waits for packets out of order. 0 takes packets as they come.
        lateness_ns: How far behind the watermark a packet may still come.
        queue_size: Packets held for a robot, waiting or to go back to. Beyond it the oldest are settled early, and
            what then comes too late is counted under the cause `queue`.
        tick_ns: The engine is asked at whole multiples of it through its stream without channels; None never. A tick
            is answered when a packet behind it comes, or `advance` says that its time has passed.
        offsets_ns: By how much the stamps of a stream are behind those of the engine's first stream, roughly (to the
            slop). Of each stream named, it is taken off, and followed as it drifts: see `StreamRunner.offsets`.
        provisional: Whether moments are answered at once, and again when settled; else only then.
        clock: What to do when the clock jumps.
        gates: By stream; those not named believe every finite value.
    """

    slop_ns: int = 0
    wait_ns: int = 0
    lateness_ns: int = 0
    queue_size: int = 1000
    tick_ns: int | None = None
    offsets_ns: Mapping[str, int] = field(default_factory=dict[str, int])
    provisional: bool = True
    clock: ClockRule = ClockRule()
    gates: Mapping[str, Gate] = field(default_factory=dict[str, Gate])

    def __post_init__(self) -> None:
        for name in ("slop_ns", "wait_ns", "lateness_ns"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: need 0 or more nanoseconds.")
        if self.queue_size < 1:
            raise ValueError(f"queue_size is {self.queue_size}: need room for 1 packet or more.")
        if self.tick_ns is not None and (self.tick_ns < 1 or self.clock.ahead_ns is None):
            raise ValueError(
                f"tick_ns is {self.tick_ns} with clock.ahead_ns {self.clock.ahead_ns}: need a period above 0 and a "
                "limit, or one wrong stamp would ask for ticks without end."
            )
        reach = self.wait_ns + self.lateness_ns
        if self.clock.back_ns is not None and self.clock.back_ns <= reach:
            raise ValueError(
                f"clock.back_ns is {self.clock.back_ns}: need more than wait_ns + lateness_ns = {reach}, or packets "
                "that are merely late would count as a jump."
            )

    def digest(self) -> str:
        """Return the sha256 of all settings: a snapshot is only taken up under the same."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True, default=list).encode()).hexdigest()
