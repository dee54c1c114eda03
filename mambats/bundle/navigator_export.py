"""What is written of a navigator: graphs of a tick and of where a run begins, weights, configuration, recorded rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mambats import __version__
from mambats.bundle.bundle import write_arrays
from mambats.bundle.card import CardFacts, write_navigator_card
from mambats.bundle.errors import ExportError
from mambats.bundle.flat_navigator import FlatNavigator
from mambats.bundle.layout import BEGIN, CARD, CHECK, CONFIG, FORMAT, INITIAL, OPSET, STEP, WEIGHT, WEIGHTS
from mambats.bundle.navigator_bundle import NAVIGATOR, navigator_facts
from mambats.bundle.navigator_check import record_ticks
from mambats.odometry.navigator import Navigator
from mambats.recipe import describe
from mambats.streaming.engines.facts import fingerprint
from mambats.streaming.engines.navigation_facts import start_of
from mambats.streaming.engines.navigator import NavigatorEngine


def navigator_graphs(model: Navigator, checkpoint: str | Path) -> dict[str, bytes]:
    """Return the graphs by name; some minutes on one core.

    Raises:
        ExportError: If the exporter cannot take the model.
    """
    from mambats.bundle.navigator_graph import begin_graph, tick_graph

    try:
        flat = FlatNavigator(model.eval().requires_grad_(False)).eval()
        return {STEP: tick_graph(flat), BEGIN: begin_graph(flat)}
    except Exception as error:  # torch's exporter has many kinds
        raise ExportError(f"{checkpoint}: torch cannot export this model: {error}. Nothing was written.") from error


def navigator_files(model: Navigator, graphs: dict[str, bytes], name: str, card: CardFacts) -> dict[str, bytes]:
    """Return the content of a bundle's files by name, without the manifest.

    Args:
        model: In evaluation mode.
        graphs: Of `navigator_graphs`; without them the bundle runs by torch alone.
        name: Title of the card.
        card: What the configuration does not know.
    """
    engine = NavigatorEngine(model)
    initial = engine.core.begin(start_of(None), 1)
    arrays = {WEIGHT + key: v.detach().contiguous().numpy() for key, v in model.state_dict().items()}
    arrays |= {INITIAL + key: v for key, v in initial.items()}
    facts = navigator_facts(engine.tick_ns)
    config: dict[str, Any] = {
        "kind": NAVIGATOR,
        "format": FORMAT,
        "mambats": __version__,
        "opset": OPSET,
        "identity": fingerprint(facts, arrays),
        "facts": facts,
        "state": list(initial),
        "layers": None,
        "model": describe(model),
    }
    return {
        CONFIG: json.dumps(config, indent=2).encode() + b"\n",
        CARD: write_navigator_card(name, config, card).encode(),
        WEIGHTS: write_arrays(arrays),
        CHECK: write_arrays(record_ticks(engine)),
        **graphs,
    }
