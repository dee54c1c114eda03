"""A checkpoint becomes a bundle: graphs, weights, configuration, card and manifest, verified before it is there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from mambats import __version__
from mambats.bundle.bundle import FORECASTER, write_arrays
from mambats.bundle.card import CardFacts, write_card
from mambats.bundle.check import record
from mambats.bundle.errors import BundleError, ExportError
from mambats.bundle.flat import FlatForecaster
from mambats.bundle.folder import manifest_of
from mambats.bundle.graph import prefill_graph, step_graph
from mambats.bundle.layout import (
    CARD,
    CHECK,
    CONFIG,
    FORMAT,
    INITIAL,
    MANIFEST,
    NATIVE,
    OPSET,
    PREFILL,
    STEP,
    WEIGHT,
    WEIGHTS,
)
from mambats.bundle.loss import loss_of, round_weights, test_loss_of
from mambats.bundle.native import layers_of
from mambats.bundle.native_file import native_file
from mambats.bundle.rebuild import arrays_of, flat_of, navigator_of, torch_engine
from mambats.bundle.small_graph import shrink
from mambats.bundle.weights import Stored, is_matrix, packed
from mambats.checkpoint import read_checkpoint, read_entry
from mambats.recipe import describe
from mambats.streaming.engines.facts import fingerprint

#: Packages whose version a card names, as far as they are there.
_PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy", "safetensors")


def export(
    checkpoint: str | Path,
    folder: str | Path,
    *,
    prefill: bool = True,
    licence: str = "",
    purpose: str = "",
    stored: Stored = "float32",
    recipe: str | Path | None = None,
) -> dict[str, float]:
    """Write the bundle of a checkpoint, or nothing.

    Args:
        checkpoint: Of a forecaster that streams, or of a navigator.
        folder: Where the bundle goes; must not be there yet.
        prefill: Whether to export the graph of many rows too.
        licence: Of the weights, for the card.
        purpose: Intended use, for the card.
        stored: How matrices are stored; what that loses stands in the configuration and on the card.
        recipe: `config.yaml` of the run: the loss is measured on its test rows too.

    Returns:
        Largest difference from the model by engine, relative to the largest number, found in a fresh process.

    Raises:
        ExportError: If a difference is above 1e-5, or the graphs cannot be made.
        BundleError: If the folder is there already, or the checkpoint holds no such model.
        ValueError: If a navigator's matrices are to be stored in fewer bits.
        ModuleNotFoundError: If the exporter is not installed; says what to install.
    """
    target = Path(folder)
    if target.exists() or target.is_symlink():
        raise BundleError(f"{target}: is there already. Remove it, or name another folder.")
    _need_exporter()
    navigator = navigator_of(checkpoint)
    if navigator is not None:
        return _write(_navigator_files(navigator, Path(checkpoint), target.name, licence, purpose, stored), target)
    model = flat_of(checkpoint)
    losses = [] if stored == "float32" else _round(model, checkpoint, stored, recipe)
    try:
        graphs = {STEP: step_graph(model), **({PREFILL: prefill_graph(model)} if prefill else {})}
    except Exception as error:  # torch's exporter has many kinds
        raise ExportError(f"{checkpoint}: torch cannot export this model: {error}. Nothing was written.") from error
    return _write(bundle_files(model, Path(checkpoint), graphs, target.name, licence, purpose, stored, losses), target)


def _write(files: Mapping[str, bytes], target: Path) -> dict[str, float]:
    """Write and verify a bundle, or leave nothing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        for name, body in {**files, MANIFEST: manifest_of(files)}.items():
            (draft / name).write_bytes(body)
        found = _verify(draft)
        draft.chmod(0o755)  # mkdtemp's 0700 would lock out who runs it
        draft.rename(target)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return found


def _need_exporter() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            raise ModuleNotFoundError(
                f"{name} is not installed, an export needs it: pip install 'mambats[onnx]'."
            ) from None


def bundle_files(
    model: FlatForecaster,
    checkpoint: Path,
    graphs: Mapping[str, bytes],
    name: str = "bundle",
    licence: str = "",
    purpose: str = "",
    stored: Stored = "float32",
    losses: Sequence[Mapping[str, Any]] = (),
) -> dict[str, bytes]:
    """Return the content of a bundle's files by name, without the manifest (`mambats.bundle.folder.manifest_of`).

    Args:
        model: The forecaster; with matrices rounded where they are not stored as float32.
        checkpoint: Where it comes from.
        graphs: ONNX files by name; without one the bundle runs by the native library or torch.
        name: Title of the card.
        licence: Of the weights, for the card.
        purpose: Intended use, for the card.
        stored: How matrices are stored.
        losses: What that loses, from `mambats.bundle.loss`.
    """
    facts, arrays = model.facts.plain(), arrays_of(model)
    config: dict[str, Any] = {
        "kind": FORECASTER,
        "format": FORMAT,
        "mambats": __version__,
        "opset": OPSET,
        "identity": fingerprint(facts, arrays),
        "facts": facts,
        "state": list(model.names),
        "layers": layers_of(model),
        "model": describe(model.model),
        "weights": {"stored": stored},
    }
    bodies = _bodies(model, config, graphs, "float32")
    if stored != "float32":
        small = _bodies(model, config, graphs, stored)
        sizes = {part: [len(body), len(small[part])] for part, body in bodies.items()}
        matrices = sum(is_matrix(weight, array) for weight, array in arrays.items())
        config["weights"] |= {"matrices": matrices, "bytes": sizes, "losses": list(losses)}
        bodies = small
    card = _card(checkpoint, licence, purpose)
    return {
        CONFIG: json.dumps(config, indent=2).encode() + b"\n",
        CARD: write_card(name, config, card).encode(),
        CHECK: write_arrays(record(torch_engine(model))),
        **bodies,
    }


def _card(checkpoint: Path, licence: str, purpose: str) -> CardFacts:
    entry = read_entry(read_checkpoint(checkpoint), checkpoint)
    return CardFacts(
        source=entry.source,
        fingerprint=entry.fingerprint,
        checkpoint_sha256=hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        versions={"mambats": __version__, **_versions()},
        results=_results(checkpoint),
        licence=licence,
        purpose=purpose,
    )


def _navigator_files(
    model: Any, checkpoint: Path, name: str, licence: str, purpose: str, stored: Stored
) -> dict[str, bytes]:
    from mambats.bundle.navigator_export import navigator_files, navigator_graphs

    if stored != "float32":
        raise ValueError(f"weights is {stored}: a navigator's are stored as float32 only. Leave --weights out.")
    return navigator_files(model, navigator_graphs(model, checkpoint), name, _card(checkpoint, licence, purpose))


def _bodies(
    model: FlatForecaster, config: dict[str, Any], graphs: Mapping[str, bytes], stored: Stored
) -> dict[str, bytes]:
    """The files that hold weights: tensors, the native library's where it knows the model, and graphs."""
    arrays = arrays_of(model)
    weights = {name.removeprefix(WEIGHT): v for name, v in arrays.items() if name.startswith(WEIGHT)}
    initial = {name.removeprefix(INITIAL): v for name, v in arrays.items() if name.startswith(INITIAL)}
    made = {WEIGHTS: write_arrays(packed(arrays, stored))}
    try:
        made[NATIVE] = native_file(config["facts"], config["layers"], weights, initial, stored)
    except ValueError:
        config["layers"] = None  # readers see that there is no such engine
    if stored == "float32":
        return {**made, **graphs}
    return {**made, **{name: shrink(graph, weights, stored) for name, graph in graphs.items()}}


def _round(
    model: FlatForecaster, checkpoint: str | Path, stored: Stored, recipe: str | Path | None
) -> list[dict[str, Any]]:
    """Round a model's matrices in place; return what is lost."""
    exact = flat_of(checkpoint)
    round_weights(model, stored)
    losses = [loss_of(exact, model)]
    if recipe is not None:
        losses.append(test_loss_of(exact, model, recipe, read_checkpoint(checkpoint)))
    return losses


def _versions() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _results(checkpoint: Path) -> list[Mapping[str, Any]]:
    """Rows of the last test of the run that a checkpoint lies in: runs/NAME/checkpoints/FILE."""
    try:
        rows = json.loads((checkpoint.parent.parent / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    rows = rows.get("rows", []) if isinstance(rows, dict) else rows
    return [row for row in rows if isinstance(row, dict)]


def _verify(folder: Path) -> dict[str, float]:
    """Check a bundle in a process of its own that must not load torch."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-m", "mambats.bundle.check", str(folder)],
        capture_output=True, text=True, timeout=600, check=False, env=environment,
    )  # fmt: skip
    if done.returncode:
        raise ExportError(
            f"the bundle does not hold in a fresh process, nothing was written: {done.stderr.strip()[-2000:]}"
        )
    said = json.loads(done.stdout)
    if said["loaded"]:
        raise ExportError(
            f"running the bundle loads {said['loaded']}: this is a defect of mambats. Nothing was written."
        )
    return said["differences"]
