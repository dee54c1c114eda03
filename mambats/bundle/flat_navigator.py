"""A navigator as one function of plain tensors: a tick's rows and the state in, the estimate and the next state out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mambats.estimators.inertial import InertialFilter, NavigationState
from mambats.estimators.inertial.motion import sum_readings
from mambats.odometry.bank import MEMBERS, SIGHTED, BankState, FilterBank, blinded, ready, unit_of_wheels
from mambats.odometry.mixture import Candidates, to_world
from mambats.odometry.navigation import Navigation
from mambats.odometry.navigator import Navigator, NavigatorState
from mambats.odometry.tokens import Memory
from mambats.protocols import Event, State
from mambats.series import SensorRows, SensorWindow
from mambats.series.state import flatten_state, restore_state
from mambats.streaming.engines.navigator import name_state, tree_state

#: What the two filters of a bank must have in common.
_ALIKE = ("streams", "extras", "mounts", "latency", "gravity", "gate", "wander_seconds", "wheel_period")
STATE_PARTS = len(NavigationState._fields)
INTERVAL_PARTS = 4  # readings, how long each holds, the last, and the bias that sums are made at


class FlatNavigator(nn.Module):
    """Take the rows of one tick of one robot, answer at its end, carry the state as named tensors.

    It computes what `Navigator.forward` does over a window of one tick, by the same parts; but moments and fixes are as
    many as there are rows, masked where there is none, so that no shape depends on numbers.

    Args:
        model: In evaluation mode.
    """

    def __init__(self, model: Navigator) -> None:
        super().__init__()
        self.model, self.tick_ns = model, model.bank.tick_ns
        self.like = self.begin(torch.zeros(1, 10, dtype=torch.float64) + torch.eye(10)[6])
        self.names = tuple(name_state(self.like))

    def begin(self, start: Tensor) -> NavigatorState:
        """Return the state of robots before any row that start at (B, 10) px py pz qx qy qz qw vx vy vz."""
        position, quaternion, velocity = start.split([3, 4, 3], -1)
        return self.model.init_state(Navigation(quaternion, velocity, position, start.new_zeros(len(start), 9, 9)))

    def forward(
        self, rows: Mapping[str, Sequence[Tensor]], state: Mapping[str, Tensor]
    ) -> tuple[Navigation, dict[str, Tensor]]:
        """Take a tick: the parts below, one after another, as `mambats.bundle.navigator_graph` joins them.

        Args:
            rows: By stream: values (B, N, C) float32, stamps (B, N) int64 since the tick's begin, rising, and which
                are there (B, N) bool; one row or more each, if only a masked one.
            state: Before the tick, by name.

        Returns:
            The estimate (B, ...), and the state behind the tick.
        """
        before = tree_state(self.like, state)
        carry, columns = self.lay(rows, before.bank)
        bank = split_bank(run_over(Moment(self), carry, columns))
        tokens, found, memory = self.show(rows, bank, before)
        carry = [torch.zeros_like(before.memory.since), *flatten_state(before.encoder).values()]
        passed, *leaves = run_over(Fix(self), carry, self.fixes(tokens["gnss"]))
        estimate, encoder = self.end(tokens, found, passed, self.encoder_state(leaves))
        return estimate, name_state(NavigatorState(bank, memory, encoder))

    def encoder_state(self, leaves: Sequence[Tensor]) -> State:
        """Build the encoder's state of its tensors in order."""
        return restore_state(self.like.encoder, dict(zip(flatten_state(self.like.encoder), leaves, strict=True)))

    def lay(self, rows: Mapping[str, Sequence[Tensor]], bank: BankState) -> tuple[list[Tensor], list[Tensor]]:
        """Return the filters' state, members behind one another (4 B, ...), and what `Moment` takes, moments first."""
        made = ready(window_of(rows, self.tick_ns), self.tick_ns)
        state = NavigationState(*(torch.cat(pair) for pair in zip(*bank, strict=True)))
        laid = self.filter.lay_out(self._members(made), self.tick_ns, state)
        # Moments end with the tick: there is no time behind the last.
        columns = [column[:, :-1] for column in laid.pieces[:3]]
        columns.append(state.bias[:, None].expand(-1, laid.stamps.shape[1], -1))
        columns += [part for name in streams_of(self.filter) for part in laid.streams[name]]
        return list(state), [column.transpose(0, 1).contiguous() for column in columns]

    @property
    def filter(self) -> InertialFilter:
        """The one that all four members are, but for the noise of what moves them."""
        return self.model.bank.inertial

    def _members(self, rows: dict[str, SensorRows]) -> dict[str, SensorRows]:
        """Return what the four members see: inertial unit and wheels in its place lie behind one another."""
        unit, wheels = rows["imu"], unit_of_wheels(rows["wheel"], self.filter.gravity)
        sighted = [v.repeat(SIGHTED, *[1] * (v.ndim - 1)) for v in (unit.values, unit.mask, unit.stamps)]
        hidden = [v.repeat(SIGHTED, *[1] * (v.ndim - 1)) for v in (wheels.values, wheels.mask, wheels.stamps)]
        values, mask, stamps = (
            torch.cat([torch.cat([a, b], 1), torch.cat([c, d], 1)])
            for a, b, c, d in (
                (sighted[0], hidden[0], unit.values, wheels.values),
                (sighted[1], hidden[1] & False, unit.mask & False, wheels.mask),
                (sighted[2], hidden[2], unit.stamps, wheels.stamps),
            )
        )
        most = {"imu": SensorRows(values, mask, mask.float(), stamps)}
        three = blinded({name: one for name, one in rows.items() if name != "imu"})
        for name, one in three.items():
            parts = [(getattr(one, part), getattr(rows[name], part)) for part in ("values", "mask", "gaps", "stamps")]
            most[name] = SensorRows(*(torch.cat(pair) for pair in parts))
        return most

    def show(
        self, rows: Mapping[str, Sequence[Tensor]], bank: BankState, before: NavigatorState
    ) -> tuple[dict[str, SensorRows], Candidates, Memory]:
        """Return the network's tokens, the candidates and the memory at the tick, with the filters there."""
        made = ready(window_of(rows, self.tick_ns), self.tick_ns)
        each = Navigation(*(part.unsqueeze(1) for part in self.model.bank.each(bank)))
        prepared, after = self.model.show(made, self.tick_ns, each, before)
        return prepared.rows, prepared.found, after.memory

    def fixes(self, rows: SensorRows) -> list[Tensor]:
        """Return what `Fix` takes of the tick, fixes first; one at its very end waits for the others of that moment."""
        there = rows.mask & (rows.stamps < self.tick_ns)
        return [v.transpose(0, 1).contiguous() for v in (rows.values, rows.stamps, there)]

    def end(
        self, tokens: Mapping[str, SensorRows], found: Candidates, passed: Tensor, state: State
    ) -> tuple[Navigation, State]:
        """Take the tokens of the tick's end `passed` (B,) nanoseconds from its begin; return the estimate (B, ...)."""
        fixes = tokens["gnss"]
        last = fixes.mask & (fixes.stamps == self.tick_ns)
        events = {
            name: Event(tokens[name].values[:, 0], None, tokens[name].mask[:, 0]) for name in ("imu", "wheel", "state")
        }
        events["gnss"] = Event(torch.where(last[..., None], fixes.values, 0.0).sum(1), None, last.any(1))
        made, state = self.model.encoder.step(events, self.tick_ns - passed, state=state)
        estimate = to_world(found, *self.model.answer(made["state"][:, None], found))
        return Navigation(*(part[:, 0] for part in estimate)), state


class Advance(nn.Module):
    """Move the members over an interval: their state, then readings, how long each holds, the last, the bias.

    Args:
        bank: Of the members.
    """

    def __init__(self, bank: FilterBank) -> None:
        super().__init__()
        self.filter = bank.inertial
        self.register_buffer("scale", members_scale(bank), persistent=False)
        self.scale: Tensor

    ragged = (STATE_PARTS, STATE_PARTS + 1)  #: inputs of any number of rows

    def forward(self, *given: Tensor) -> list[Tensor]:
        """Return the state's tensors."""
        values, dt, last, bias = given[STATE_PARTS:]
        interval = sum_readings(values, dt, bias, last)
        scale = self.scale.repeat_interleave(last.shape[0] // len(MEMBERS), 0)
        return list(self.filter.advance(NavigationState(*given[:STATE_PARTS]), interval, scale=scale))


class Measure(nn.Module):
    """Correct a filter by one stream: its state's tensors, then values, which are there, how late, inertial readings.

    Args:
        filter_: Whose.
        stream: Of what.
    """

    def __init__(self, filter_: InertialFilter, stream: str) -> None:
        super().__init__()
        self.filter, self.stream = filter_, stream

    def forward(self, *given: Tensor) -> list[Tensor]:
        """Return the state's tensors."""
        values, there, late, inertial = given[STATE_PARTS:]
        state = NavigationState(*given[:STATE_PARTS])
        return list(self.filter.measure(state, self.stream, values, there, late=late, reading=inertial)[0])


class Moment(nn.Module):
    """Move the members to their next moment and take what was measured then.

    Args:
        flat: Of whose bank.
    """

    def __init__(self, flat: FlatNavigator) -> None:
        super().__init__()
        self.advance = Advance(flat.model.bank)
        self.measures = nn.ModuleDict({name: Measure(flat.filter, name) for name in streams_of(flat.filter)})

    def forward(self, carry: Sequence[Tensor], row: Sequence[Tensor]) -> list[Tensor]:
        """Return the state's tensors behind the moment."""
        if bool((row[1] > 0).any()):
            carry = self.advance(*carry, *row[:INTERVAL_PARTS])
        for place, measure in enumerate(self.measures.values()):
            begin = INTERVAL_PARTS + 4 * place
            if bool(row[begin + 1].any()):
                carry = measure(*carry, *row[begin : begin + 4])
        return list(carry)


class Fix(nn.Module):
    """Show the encoder a fix within a tick: time passed and the encoder's tensors, then values, stamp, which are there.

    Args:
        flat: Of whose encoder.
    """

    def __init__(self, flat: FlatNavigator) -> None:
        super().__init__()
        self.flat = [flat]  # no part of this one

    def forward(self, carry: Sequence[Tensor], row: Sequence[Tensor]) -> list[Tensor]:
        """Return time passed and the encoder's tensors behind it."""
        values, stamp, there = row
        elapsed = torch.where(there, stamp - carry[0], 0)
        before, encoder = self.flat[0].encoder_state(carry[1:]), self.flat[0].model.encoder
        _, after = encoder.step({"gnss": Event(values, None, there)}, elapsed, state=before)
        return [carry[0] + elapsed, *flatten_state(after).values()]


def members_scale(bank: FilterBank) -> Tensor:
    """Return by how much each member's noise of what moves it is that of the first, (4, 4).

    Raises:
        ValueError: If the filters differ in more than that noise.
    """
    one, other = bank.inertial, bank.wheeled
    same = all(getattr(one, name) == getattr(other, name) for name in _ALIKE)
    parts, others = ({k: v for k, v in f.state_dict().items() if ".imu." not in k} for f in (one, other))
    if not same or parts.keys() != others.keys() or any(not torch.equal(v, others[k]) for k, v in parts.items()):
        raise ValueError(
            "the filter that moves by the wheels differs from the other in more than the noise of imu: such a bank "
            "cannot be exported. Give both the same noises, mounts, gate and times, or run the checkpoint."
        )
    with torch.no_grad():
        first, last = (
            f.noises["imu"](torch.ones(1, dtype=torch.float64)).diagonal(dim1=-2, dim2=-1).sqrt() for f in (one, other)
        )
    return torch.cat([torch.ones(SIGHTED, first.shape[1], dtype=torch.float64), last / first])


def split_bank(state: Sequence[Tensor]) -> BankState:
    """Cut members behind one another (4 B, ...) into those that see the inertial unit and the one that does not."""
    share = state[0].shape[0] // len(MEMBERS)
    pairs = [part.split([SIGHTED * share, share]) for part in state]
    return BankState(*(NavigationState(*parts) for parts in zip(*pairs, strict=True)))


def streams_of(filter_: InertialFilter) -> list[str]:
    """Return the streams that correct a filter, in the order in which it takes them."""
    return [name for name in filter_.streams if name != "imu"]


def run_over(body: nn.Module, carry: list[Tensor], columns: list[Tensor]) -> list[Tensor]:
    """Run a body over rows (T, ...): what a graph's Scan node does."""
    for row in zip(*(column.unbind(0) for column in columns), strict=True):
        carry = body(carry, row)
    return carry


def window_of(rows: Mapping[str, Sequence[Tensor]], length_ns: int) -> SensorWindow:
    """Return rows by stream, values, stamps and which are there, as a window."""
    streams = {name: SensorRows(values, there, there.float(), stamps) for name, (values, stamps, there) in rows.items()}
    none = torch.zeros_like(streams["imu"].stamps[:, 0])
    return SensorWindow(streams, none, length_ns, none, {})
