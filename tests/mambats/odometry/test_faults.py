"""Faults: what each does to the rows, and that it does nothing else."""

from __future__ import annotations

import pytest
import torch

from mambats.odometry.faults import Fault, RandomFaults, standard_faults
from mambats.series import SensorWindow
from mambats_datasets.synthetic.robot import SimulatedRobots
from mambats_datasets.synthetic.robot_windows import robot_windows


@pytest.fixture(scope="module")
def window() -> SensorWindow:
    return robot_windows(SimulatedRobots("robot", duration=3.0), 3, torch.Generator().manual_seed(0))


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("fault", standard_faults(), ids=lambda fault: fault.label)
def test_a_fault_changes_its_stream_and_no_other(fault: Fault, window: SensorWindow) -> None:
    broken = fault(window, gen())
    for name, rows in window.streams.items():
        same = torch.equal(rows.values, broken.streams[name].values) and torch.equal(
            rows.stamps, broken.streams[name].stamps
        )
        assert same == (name != fault.stream)


def test_off_takes_all_rows_from_its_beginning_on(window: SensorWindow) -> None:
    rows = Fault("off", "imu", begin=0.5)(window, gen()).streams["imu"]
    assert int(rows.stamps[rows.mask].max()) < 1_500_000_000
    assert int(rows.mask.sum()) == 3 * 300
    assert not Fault("off", "imu")(window, gen()).streams["imu"].mask.any()


def test_stuck_repeats_the_last_row_before(window: SensorWindow) -> None:
    before = window.streams["wheel"]
    rows = Fault("stuck", "wheel", begin=0.5)(window, gen()).streams["wheel"]
    late = rows.stamps[0] >= 1_500_000_000
    last = int((~late).nonzero().max())
    assert torch.equal(rows.values[0, late], before.values[0, last].expand(int(late.sum()), 2))
    assert torch.equal(rows.values[0, ~late], before.values[0, ~late])
    assert torch.equal(rows.mask, before.mask)


def test_delayed_keeps_values_and_drops_what_comes_after_the_end(window: SensorWindow) -> None:
    before, rows = window.streams["gnss"], Fault("delayed", "gnss", 0.5)(window, gen()).streams["gnss"]
    kept = int(rows.mask[0].sum())
    assert torch.equal(rows.stamps[0, :kept], before.stamps[0, :kept] + 500_000_000)
    assert torch.equal(rows.values[0, :kept], before.values[0, :kept])
    assert int(rows.stamps.max()) <= window.length_ns


def test_miscalibrated_turns_by_the_angle_and_keeps_lengths(window: SensorWindow) -> None:
    before, rows = window.streams["imu"].values, Fault("miscalibrated", "imu", 5.0)(window, gen()).streams["imu"].values
    for part in (slice(0, 3), slice(3, 6)):
        torch.testing.assert_close(rows[..., part].norm(dim=-1), before[..., part].norm(dim=-1), rtol=1e-4, atol=1e-5)
    # Three vectors of one series span a rotation whose trace says the angle.
    turn = torch.linalg.lstsq(before[0, :, 3:].double(), rows[0, :, 3:].double()).solution
    angle = torch.rad2deg(torch.arccos((torch.trace(turn) - 1) / 2))
    assert float(angle) == pytest.approx(5.0, abs=0.05)


def test_axes_are_drawn_by_the_generator(window: SensorWindow) -> None:
    fault = Fault("miscalibrated", "gnss", 5.0)
    one, same, other = (fault(window, gen(seed)).streams["gnss"].values for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_random_faults_leave_the_healthy_alone_and_strike_one_stream_each(window: SensorWindow) -> None:
    assert _struck(window, RandomFaults(healthy=1.0)(window, gen())).sum() == 0
    assert (_struck(window, RandomFaults(healthy=0.0)(window, gen(3))).sum(0) <= 1).all()


def test_what_is_unknown_is_refused(window: SensorWindow) -> None:
    with pytest.raises(ValueError, match="kind is 'broken'"):
        Fault("broken", "imu")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="begin in"):
        Fault("off", "imu", begin=1.0)
    with pytest.raises(ValueError, match="no stream 'lidar'"):
        Fault("off", "lidar")(window, gen())


def _struck(before: SensorWindow, after: SensorWindow) -> torch.Tensor:
    """Which streams of which series changed, (streams, B)."""
    rows = []
    for name, old in before.streams.items():
        new = after.streams[name]
        changed = (old.values != new.values).flatten(1).any(1) | (old.stamps != new.stamps).any(1)
        rows.append(changed | (old.mask != new.mask).any(1))
    return torch.stack(rows)
