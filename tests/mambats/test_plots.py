import ast
import builtins
import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from mambats import plots
from mambats.plots import ForecastView, draw_error_by_horizon, draw_forecasts, draw_training, view_of
from mambats.results import ResultsError
from mambats.scale import Scaler

pytest.importorskip("matplotlib")

HOUR = 3_600_000_000_000


@pytest.fixture
def figures(monkeypatch):
    """The figures that were drawn, to be asked what they show."""
    kept, save = [], plots._save
    monkeypatch.setattr(plots, "_save", lambda figure, path: (kept.append(figure), save(figure, path))[1])
    return kept


@pytest.fixture
def view():
    rng = np.random.default_rng(0)
    forecast = rng.normal(size=12)
    return ForecastView(
        "OT",
        rng.normal(size=48 + 12),
        forecast,
        bands={0.5: (forecast - 1, forecast + 1), 0.9: (forecast - 2, forecast + 2)},
        others={"ridge": forecast / 2},
        unit="°C",
        stamps=1_500_000_000 * 10**9 + np.arange(60) * HOUR,
    )


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000


def test_a_view_is_in_the_units_of_the_data():
    rows = np.array([[10.0, 0.0], [14.0, 2.0], [12.0, 4.0], [8.0, 2.0]], dtype=np.float32)
    scaler = Scaler.fit(rows.T, channels=("a", "b"))
    values = scaler.transform(torch.from_numpy(rows))
    observed = torch.ones(4, 2, dtype=torch.bool)
    observed[1, 1] = False
    forecast = torch.stack([values[2:] - 1, values[2:], values[2:] + 2], -1)
    view = view_of(values, forecast, 1, scaler, quantiles=(0.1, 0.5, 0.9), observed=observed, others={"x": values[:2]})
    assert view.channel == "b"
    np.testing.assert_allclose(view.truth, [0, np.nan, 4, 2], atol=1e-6)
    np.testing.assert_allclose(view.forecast, [4, 2], atol=1e-6)
    assert list(view.bands) == [0.8]
    deviation = float(scaler.scale[1])
    np.testing.assert_allclose(view.bands[0.8][0], np.array([4, 2]) - deviation, atol=1e-6)
    np.testing.assert_allclose(view.bands[0.8][1], np.array([4, 2]) + 2 * deviation, atol=1e-6)
    np.testing.assert_allclose(view.others["x"], [0, 2], atol=1e-6)
    assert view_of(values, values[2:], 0, scaler).bands == {}


def test_forecasts_are_labelled(tmp_path, view, figures):
    path = draw_forecasts([view, view], tmp_path / "pictures" / "forecasts.png", title="demo")
    assert is_png(path)
    axes = figures[0].axes
    assert len(axes) == 2
    assert axes[0].get_ylabel() == "OT [°C]"
    assert axes[0].get_xlabel() == "time (UTC)"
    labels = {text.get_text() for text in figures[0].legends[0].get_texts()}
    assert labels == {"90% interval", "50% interval", "ridge", "measured", "forecast"}
    lines = {line.get_label(): line for line in axes[0].get_lines()}
    assert lines["forecast"].get_linestyle() != lines["measured"].get_linestyle()  # told apart in grey
    np.testing.assert_allclose(lines["forecast"].get_ydata(), view.forecast)
    assert len(lines["measured"].get_ydata()) == 24 + 12  # two horizons of the past
    assert lines["forecast"].get_xdata()[-1] == view.stamps[-1].astype("datetime64[ns]")


def test_without_stamps_rows_are_counted_from_the_last_one_read(tmp_path, figures):
    draw_forecasts([ForecastView("x", np.arange(10.0), np.arange(4.0))], tmp_path / "a.png")
    axes = figures[0].axes[0]
    assert axes.get_xlabel() == "rows from now"
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert list(lines["forecast"].get_xdata()) == [1, 2, 3, 4]
    assert lines["measured"].get_xdata()[0] == -5


def test_error_by_horizon(tmp_path, figures):
    curves = {"mine": [0.1, 0.2, 0.3], "ridge": [0.2, 0.3, 0.4], "last_value": [0.5, 9.0, 9.0]}
    assert is_png(draw_error_by_horizon(curves, tmp_path / "h.png", period_ns=HOUR))
    axes = figures[0].axes[0]
    assert axes.get_xlabel() == "hours ahead"
    assert list(axes.get_lines()[0].get_xdata()) == [1, 2, 3]
    assert axes.get_ylim() == (0, pytest.approx(0.75))
    order = [text.get_text().split("\n")[0] for text in figures[0].legends[0].get_texts()]
    assert order == ["last_value", "ridge", "mine"]
    styles = {(str(line.get_linestyle()), line.get_marker()) for line in axes.get_lines()}
    assert len(styles) == 3


def test_a_run_that_failed_is_drawn_too(tmp_path):
    nan = float("nan")
    assert is_png(draw_error_by_horizon({"mine": [nan, nan], "ridge": [1.0, 2.0]}, tmp_path / "h.png"))
    assert is_png(draw_error_by_horizon({"mine": [nan]}, tmp_path / "h.png"))
    (tmp_path / "metrics.csv").write_text("step,train_loss,val_loss\n0,1.0,\n1,,2.0\n")
    assert is_png(draw_training(tmp_path / "metrics.csv", tmp_path / "t.png"))


@pytest.mark.parametrize(
    ("period", "rows", "unit"),
    [(None, 96, "rows"), (HOUR, 96, "days"), (HOUR, 24, "hours"), (HOUR // 4, 4, "minutes"), (10**6, 5, "rows")],
)
def test_the_horizon_is_in_a_unit_of_its_size(period, rows, unit):
    step, name = plots._step(period, rows)
    assert name == unit
    assert period is None or unit == "rows" or step * rows >= 3


def test_training_curves(tmp_path, figures):
    lines = ["step,epoch,train_loss,val_loss,val_mse,lr"]
    for step in range(0, 600, 2):
        lines.append(f"{step},0,{1 / (step + 1)},,,0.001")
        if step % 100 == 98:
            lines.append(f"{step},0,,{abs(step - 298) + 1},{step},")
    (tmp_path / "metrics.csv").write_text("\n".join(lines))
    assert is_png(draw_training(tmp_path / "metrics.csv", tmp_path / "t.png", title="demo"))
    loss, mse = figures[0].axes
    assert loss.get_ylabel().startswith("loss") and mse.get_ylabel().startswith("mse")
    labels = [text.get_text() for text in loss.get_legend().get_texts()]
    assert labels == ["train, mean of 12", "val"]
    assert loss.texts[0].get_text() == "1" and loss.texts[0].xy[0] == 298  # the best one


def test_lightning_names_and_broken_values_are_read(tmp_path):
    text = "epoch,step,train/loss_step,train/loss_epoch,val/loss\n0,0,nan,,\n0,1,2.0,2.0,\n0,1,,,3.0\n"
    (tmp_path / "metrics.csv").write_text(text)
    curves = plots._read_curves(tmp_path / "metrics.csv")
    assert {name: sorted(stages) for name, stages in curves.items()} == {"loss": ["train", "val"]}
    assert [list(part) for part in curves["loss"]["train"]] == [[1], [2]]


def test_a_full_disk_leaves_the_earlier_picture(tmp_path, monkeypatch):
    path = draw_error_by_horizon({"a": [1.0, 2.0]}, tmp_path / "h.png")
    before = path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResultsError, match="No space left"):
        draw_error_by_horizon({"a": [9.0, 2.0]}, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_to_draw_is_said(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,lr\n0,1\n")
    with pytest.raises(ValueError, match="no column"):
        draw_training(tmp_path / "metrics.csv", tmp_path / "t.png")
    with pytest.raises(ValueError, match="no view"):
        draw_forecasts([], tmp_path / "t.png")
    with pytest.raises(ValueError, match="no curve"):
        draw_error_by_horizon({}, tmp_path / "t.png")
    with pytest.raises(FileNotFoundError):
        draw_training(tmp_path / "none.csv", tmp_path / "t.png")


def test_without_matplotlib_one_message_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *more):
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(f"No module named {name!r}", name="matplotlib")
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match=r"mambats\[plot\]"):
        draw_error_by_horizon({"a": [1.0]}, tmp_path / "h.png")


def test_importing_loads_no_matplotlib():
    top = ast.parse(Path(plots.__file__).read_text(encoding="utf-8")).body
    names = {ast.unparse(node) for node in top if isinstance(node, ast.Import | ast.ImportFrom)}
    assert names and not any("matplotlib" in name for name in names)
