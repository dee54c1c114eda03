"""No leakage: what lies behind a window's end, or behind the training rows, changes nothing before it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mambats.data import WindowDataModule, module
from mambats.data.prepare import fit_scalers
from mambats.series import Recording
from mambats_datasets import Oscillators

FIELDS = ("values", "observed", "gaps", "mask", "past", "future", "static", "clock")


class Disturbed:
    """The same series with everything from row `start` on replaced, some of it taken away."""

    name = "disturbed"

    def __init__(self, start, absent):
        self.start, self.absent = start, absent

    def recordings(self):
        [recording] = Oscillators(rows=300, absent=self.absent, covariates=True).recordings()
        return [
            Recording(recording.name, {k: self.change(k, s) for k, s in recording.streams.items()}, recording.static)
        ]

    def change(self, part, stream):
        rng = np.random.default_rng(9)
        values = stream.values.copy()
        late = values[self.start :]
        late[:] = 100 * rng.standard_normal(late.shape)
        if part != "future":
            late[rng.random(len(late)) < 0.3] = np.nan
        return replace(stream, values=values, observed=np.isfinite(values))


def opened(start, absent, missing):
    data = WindowDataModule(Disturbed(start, absent), 24, 8, calendar=("hour_of_day",), missing=missing)
    data.setup()
    return data


def assert_same_before(start, absent, missing, split):
    """Windows of a split that end at or before row `start` do not feel what comes after."""
    calm, disturbed = opened(300, absent, missing), opened(start, absent, missing)
    windows = calm.windows(split)
    first = windows.index.locate(np.arange(len(windows)))[1]
    numbers = np.flatnonzero(first + 32 <= start)
    assert numbers.size
    one, other = windows[numbers], disturbed.windows(split)[numbers]
    for name in FIELDS:
        a, b = getattr(one, name), getattr(other, name)
        if name in ("observed", "mask"):  # None says that all is there
            whole = torch.ones(one.values.shape if name == "observed" else one.values.shape[:2], dtype=torch.bool)
            a, b = (whole if flags is None else flags for flags in (a, b))
        assert (a is None and b is None) or torch.equal(a, b), name
    assert torch.equal(calm.scaler.mean, disturbed.scaler.mean)
    assert torch.equal(calm.scaler.scale, disturbed.scaler.scale)


@pytest.mark.parametrize("missing", ["absent", "forward_fill"])
@pytest.mark.parametrize("absent", [0.0, 0.2])
@pytest.mark.parametrize(("start", "split"), [(210, "train"), (235, "val"), (240, "val"), (271, "test"), (299, "test")])
def test_nothing_after_a_window_reaches_into_it(start, split, absent, missing):
    assert_same_before(start, absent, missing, split)


def test_a_scaler_that_saw_all_rows_is_found(monkeypatch):
    monkeypatch.setattr(module, "fit_scalers", lambda panel, ends: fit_scalers(panel, panel.lengths))
    with pytest.raises(AssertionError):
        assert_same_before(240, 0.0, "absent", "val")


def test_a_fill_from_the_future_is_found(monkeypatch):
    from mambats.data import prepare

    forward = prepare.fill_forward

    def backward(block, offsets):
        turned = replace(
            block, values=block.values[:, ::-1], observed=None if block.observed is None else block.observed[:, ::-1]
        )
        return np.ascontiguousarray(forward(turned, offsets)[:, ::-1])

    monkeypatch.setattr(prepare, "fill_forward", backward)
    with pytest.raises(AssertionError):
        assert_same_before(240, 0.5, "forward_fill", "val")


def test_the_rows_to_forecast_are_empty():
    data = opened(300, 0.0, "absent")
    plain = WindowDataModule(Oscillators(rows=300), 24, 8)
    plain.setup()
    assert data.panel.future is not None
    batch = next(iter(plain.predict_dataloader()))
    assert not batch.target.any()
    assert not batch.target_observed.any()
