"""The model card of a bundle: what it is, of what data, how good, for what, and under which licence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mambats.bundle.loss import told


@dataclass(frozen=True)
class CardFacts:
    """What a card says besides the model's own facts.

    Args:
        source: Name of the data it was trained on, "" where nothing says.
        fingerprint: sha256 of that data.
        checkpoint_sha256: Of the checkpoint.
        versions: Package versions that exported.
        results: Rows of the last test of its run, as `results.json` has them.
        licence: Of the weights.
        purpose: What it is meant for.
    """

    source: str
    fingerprint: str
    checkpoint_sha256: str
    versions: Mapping[str, str]
    results: Sequence[Mapping[str, Any]] = ()
    licence: str = ""
    purpose: str = ""


def write_card(name: str, config: Mapping[str, Any], given: CardFacts) -> str:
    """Return the card as Markdown.

    Args:
        name: Title.
        config: The bundle's configuration.
        given: What the configuration does not know.
    """
    facts = config["facts"]
    levels = facts["quantiles"]
    answer = "one number" if levels is None else f"quantiles {', '.join(map(str, levels))}"
    lines = [
        f"# {name}",
        "",
        "A state-space forecaster that takes one row at a time, exported by mambats.",
        "",
        f"- **Reads** {', '.join(facts['channels'])}"
        + (f", and beside them {', '.join(facts['past'])}" if facts["past"] else "")
        + f"; a gap of 1 is {facts['period_ns'] / 1e9:g} s. Values may be absent, rows may be irregular.",
        f"- **Gives** {facts['horizon']} rows ahead of each channel, {answer}, in the units it read.",
        *_origin(config, given, _PURPOSE),
        "",
        "## How good it is",
        "",
        *_table(given.results),
        *(["", *lines] if (lines := [f"- {line}." for line in told(config.get("weights") or {})]) else []),
        "",
        "## Use",
        "",
        "    mambats run --bundle FOLDER --source rows.csv --sink forecasts.csv",
        "    python -m mambats.bundle.check FOLDER",
        "",
        "Needs numpy, safetensors and onnxruntime (or the native library); no torch.",
        "",
    ]
    return "\n".join(lines)


def _origin(config: Mapping[str, Any], given: CardFacts, purpose: str) -> list[str]:
    return [
        f"- **Trained on** {given.source or 'data that the checkpoint does not name'}"
        + (f", sha256 {given.fingerprint}" if given.fingerprint else "")
        + ".",
        f"- **Intended use** {given.purpose or purpose}",
        f"- **Licence** {given.licence or 'not stated: ask whoever made it, and mind the licence of the data.'}",
        f"- **Model** {config['identity']} (sha256 of facts, weights and first state)",
        f"- **Checkpoint** sha256 {given.checkpoint_sha256}",
        "- **Made with** " + ", ".join(f"{package} {version}" for package, version in given.versions.items()),
    ]


def write_navigator_card(name: str, config: Mapping[str, Any], given: CardFacts) -> str:
    """Return the card of a navigator as Markdown.

    Args:
        name: Title.
        config: The bundle's configuration.
        given: What the configuration does not know.
    """
    lines = [
        f"# {name}",
        "",
        "A navigator: four filters of inertial unit, satellite receiver and wheels side by side, each but the first "
        "blind to one of them, and a network that says which of them to believe. Exported by mambats.",
        "",
        "- **Reads** imu `wx wy wz ax ay az` (rad/s, m/s^2, at rest +9.80665 on z), gnss `px py pz` (m), wheel `v w` "
        "(m/s, rad/s), any subset, each on its own clock; and where it starts (`--start`).",
        f"- **Gives** every {config['facts']['tick_ns'] / 1e9:g} s position, velocity and attitude (quaternion x y z "
        "w) in the world, z up, with the covariance of their error (rotation in the body, velocity, position); online.",
        *_origin(config, given, _NAVIGATION),
        "",
        "## How good it is",
        "",
        *_table(given.results),
        "",
        "## Use",
        "",
        "    mambats run --bundle FOLDER --source ROWS.jsonl --sink poses.jsonl --start 0,0,0,0,0,0,1,0,0,0",
        "    python -m mambats.bundle.check FOLDER",
        "",
        "Needs numpy, safetensors and onnxruntime; no torch. A graph takes one tick of one robot.",
        "",
    ]
    return "\n".join(lines)


_NAVIGATION = (
    "pose and velocity of a robot like that it was trained on, with the same mounts and sensors. Not tested for "
    "anything else; not for decisions on which safety hangs without tests of your own."
)
_PURPOSE = (
    "forecasts of these channels on data like that it was trained on. Not tested for anything else; not for decisions "
    "on which safety hangs without tests of your own."
)


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return ["Not known: no `results.json` lay beside the checkpoint (`mambats test` writes it)."]
    columns = ("model", "source", "split", "horizon", "metric", "value", "windows", "mode")
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in rows:
        cells = [f"{v:.4g}" if isinstance(v := row.get(name, ""), float) else str(v) for name in columns]
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return lines
