"""What a forecaster loses when its weights are stored in fewer bits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mambats.bundle.check import Arrays, replay
from mambats.bundle.errors import BundleError
from mambats.bundle.weights import Stored, is_matrix, rounded

if TYPE_CHECKING:
    from mambats.bundle.flat import FlatForecaster

_SERIES, _MOMENTS = 4, 192


def round_weights(model: FlatForecaster, stored: Stored) -> int:
    """Round a model's matrices in place; return how many there are."""
    import torch

    count = 0
    for name, tensor in model.state_dict().items():
        array = tensor.numpy()
        if is_matrix(name, array):
            tensor.copy_(torch.from_numpy(rounded(array, stored)))
            count += 1
    return count


def loss_of(exact: FlatForecaster, model: FlatForecaster) -> dict[str, Any]:
    """Compare forecasts on drawn rows: four series that wander about the training mean, regular, nothing absent.

    Args:
        exact: With weights as trained.
        model: With rounded ones.

    Returns:
        `data`, and the `worst` and `mean` difference in deviations of the channel in training.
    """
    from mambats.bundle.rebuild import torch_engine

    given = _drawn(exact)
    first, second = (replay(torch_engine(part), given)[0] for part in (exact, model))
    scale = exact.scaler.scale.numpy()
    off = np.abs(first - second) / (scale if exact.facts.quantiles is None else scale[:, None])
    return {"data": f"{_SERIES * _MOMENTS} drawn rows", "worst": float(off.max()), "mean": float(off.mean())}


def test_loss_of(
    exact: FlatForecaster, model: FlatForecaster, recipe: str | Path, checkpoint: Mapping[str, Any]
) -> dict[str, Any]:
    """Compare forecasts on the test rows of a run, online, as `mambats test` scores them.

    Args:
        exact: With weights as trained.
        model: With rounded ones.
        recipe: The run's `config.yaml`, which names the data.
        checkpoint: What was trained, read.

    Returns:
        `data`, `worst` and `mean` as `loss_of`, and `scores`: before and after by metric, in scaled units.

    Raises:
        BundleError: If the recipe names no table of rows, or another than the checkpoint was trained on.
    """
    import torch

    from mambats.forecast.metrics import CRPS, MAE, MSE
    from mambats.forecast.online import OnlineRun

    data = _test_data(recipe, checkpoint)
    levels = exact.facts.quantiles
    runs = [OnlineRun(exact.model), OnlineRun(model.model)]
    kinds: dict[str, Any] = {"mse": MSE, "mae": MAE, **({} if levels is None else {"crps": CRPS})}
    scores = [{name: kind(levels) for name, kind in kinds.items()} for _ in runs]
    worst, total, count = 0.0, 0.0, 0
    with torch.no_grad():
        for window in data.test_dataloader():
            answers = [run.forecast(window)[:, : window.horizon] for run in runs]
            off = (answers[0] - answers[1]).abs()
            worst, total, count = max(worst, float(off.max())), total + float(off.sum()), count + off.numel()
            for answer, metrics in zip(answers, scores, strict=True):
                for metric in metrics.values():
                    metric.update(answer, window.target, window.target_observed)
    found = {name: [float(part[name].compute()) for part in scores] for name in kinds}
    return {"data": f"test rows of {data.name}", "worst": worst, "mean": total / max(count, 1), "scores": found}


def told(weights: Mapping[str, Any]) -> list[str]:
    """Say in lines what a bundle's configuration holds of its weights, or nothing where all are float32."""
    if weights.get("stored", "float32") == "float32":
        return []
    lines = [
        f"{weights['matrices']} matrices are stored as {weights['stored']}, everything else as float32; "
        + ", ".join(f"{name} {after:,} of {before:,} bytes" for name, (before, after) in weights["bytes"].items()),
    ]
    for loss in weights["losses"]:
        lines.append(
            f"against float32 on {loss['data']}, forecasts differ by {loss['worst']:.2g} at worst and "
            f"{loss['mean']:.2g} on average, in deviations of the channel in training"
        )
        for name, (before, after) in loss.get("scores", {}).items():
            lines.append(f"{name} {before:.6g} -> {after:.6g} ({100 * (after / before - 1):+.3f} %)")
    return lines


def _drawn(model: FlatForecaster) -> Arrays:
    draw, facts = np.random.default_rng(0), model.facts
    mean, scale = (
        np.concatenate([getattr(part, name).numpy() for part in (model.scaler, model.past) if part is not None])
        for name in ("mean", "scale")
    )
    wander = np.zeros((_MOMENTS, _SERIES, len(facts.columns)))
    for moment in range(1, _MOMENTS):  # deviation 1, remembered over some ten rows
        wander[moment] = 0.9 * wander[moment - 1] + draw.normal(0, np.sqrt(1 - 0.81), wander.shape[1:])
    stamps = 438_000 * 3600 * 10**9 + np.arange(_MOMENTS, dtype=np.int64)[:, None] * facts.period_ns
    return {
        "stamps": np.repeat(stamps, _SERIES, 1),
        "values": (wander * scale + mean).astype(np.float32),
        "observed": np.ones(wander.shape, np.bool_),
        "mask": np.ones(wander.shape[:2], np.bool_),
    }


def _test_data(recipe: str | Path, checkpoint: Mapping[str, Any]) -> Any:
    from mambats.checkpoint import read_entry
    from mambats.data import Loading, WindowDataModule
    from mambats.recipe import load_recipe, rebuild

    spec = load_recipe(recipe).get("data")
    if not isinstance(spec, dict) or not str(spec.get("class_path")).endswith("WindowDataModule"):
        raise BundleError(f"{recipe}: names no WindowDataModule under data: give the config.yaml of the run.")
    arguments = dict(spec.get("init_args") or {})
    loading = arguments.pop("loading", None) or {}  # its class is named in a recipe, not in a run's config.yaml
    rows: dict[str, Any] = {name: rebuild(value) if _names_class(value) else value for name, value in arguments.items()}
    data = WindowDataModule(**rows, loading=rebuild(loading) if _names_class(loading) else Loading(**loading))
    data.load_state_dict(checkpoint["WindowDataModule"])
    data.setup("test")
    entry = read_entry(dict(checkpoint), Path(recipe))
    if entry.fingerprint and data.fingerprint != entry.fingerprint:
        raise BundleError(
            f"{recipe}: its data has sha256 {data.fingerprint[:12]}..., the checkpoint was trained on "
            f"{entry.fingerprint[:12]}...: give the recipe and the files of its run."
        )
    return data


def _names_class(value: Any) -> bool:
    return isinstance(value, dict) and "class_path" in value
