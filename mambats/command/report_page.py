"""What stands on the page of a run: of a stream that ran, of a model that was trained and tested."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from mambats.command.door import UsageError
from mambats.command.report_tracks import TRACKS, add_tracks
from mambats.pictures.page import Page
from mambats.pictures.stream import draw_curves, draw_latency, duration
from mambats.results import read_results, table
from mambats.streaming.counters import FATES
from mambats.streaming.log import Latency, Log, read_counters, read_log, unaccounted

#: Files of which one at least makes a folder that of a run, by what they are of.
STREAM = ("configuration.json", "outputs.jsonl", "counters.jsonl", "counters.json", "latency.json")
FIT = ("config.yaml", "results.json", "metrics.csv", "pictures")
_PICTURES = (".png", ".gif")
#: Bytes of pictures that a page takes: one of 40 MB still goes by mail and opens at once.
_MOST = 40_000_000


def page_of(source: Path, title: str = "") -> tuple[Page, str]:
    """Return the page of a run, and in words what it shows.

    Args:
        source: Folder of a run, or a file of counters.
        title: Above the page, empty for the source's name.

    Raises:
        UsageError: If the source is nothing of the kind.
        RunLogError: If a file of a log is none.
    """
    if source.is_file():
        page = Page(title or source.name)
        _add_stream(page, Log(counters=read_counters(source)))
        return page, "counters"
    here = [name for name in (*STREAM, *FIT) if (source / name).exists()]
    if not here:
        state = "holds none of" if source.is_dir() else "is neither a file of counters nor a folder with"
        raise UsageError(f"report: {source} {state} {', '.join((*STREAM, *FIT))}. Give the folder of a run.")
    page = Page(title or source.resolve().name)
    if any(name in STREAM for name in here):
        _add_stream(page, read_log(source), source)
    if any(name in FIT for name in here):
        _add_fit(page, source)
    return page, ", ".join(here)


def _add_stream(page: Page, log: Log, folder: Path | None = None) -> None:
    lost = unaccounted(log.counters)
    _add_cards(page, log, bool(lost))
    for name, count in lost.items():
        where = f"stream {name}" if name else "all streams together"
        page.words(f"{where}: {abs(count)} packets {'have no fate' if count > 0 else 'too many have one'}.", bad=True)
    if log.broken:
        page.words(f"{log.broken} lines could not be read: the run was stopped while it wrote.", bad=True)
    if log.latency is not None and log.latency.counts.any():
        _add_latency(page, log.latency)
    if log.counters:
        _add_counters(page, log)
    outputs = log.outputs
    if folder is not None and add_tracks(page, folder, log.answers, str(log.configuration.get("class") or "tracks")):
        outputs = {name: curves for name, curves in outputs.items() if name.partition(" ")[0] not in TRACKS}
    if outputs:
        page.section("Outputs")
    for name, curves in outputs.items():
        columns = dict(zip(curves.names, curves.values.T, strict=True))
        page.picture(draw_curves(curves.stamps, columns, label=name), _caption(name, len(columns), curves.size))
    if log.configuration:
        page.section("Configuration")
        page.json(log.configuration)


def _caption(name: str, shown: int, size: int) -> str:
    return name if shown == size else f"{name}: the first {shown} of its {size} numbers, by their place"


def _add_cards(page: Page, log: Log, lost: bool) -> None:
    facts = dict[str, str]()
    if "received" in log.counters:
        facts["packets received"] = f"{log.counters['received']:,}"
        facts["used"] = _share(int(log.counters.get("used", 0)), int(log.counters["received"]))
        facts["packets accounted for"] = "not all" if lost else "all"
    if log.answers:
        facts["answers"] = f"{log.answers:,}"
    if log.outputs:
        stamps = [one.stamps for one in log.outputs.values()]
        length = (max(int(s.max()) for s in stamps) - min(int(s.min()) for s in stamps)) / 1e9
        facts["event time"] = duration(length * 1e6)
    if log.latency is not None and log.latency.counts.any():
        facts["latency, median"], facts["latency, 99 %"] = (duration(log.latency.quantile(q)) for q in (0.5, 0.99))
    if facts:
        page.cards(facts, ["packets accounted for"] if lost else [])


def _add_latency(page: Page, latency: Latency) -> None:
    page.section("Latency")
    shares = {"50 %": 0.5, "90 %": 0.9, "99 %": 0.99, "99.9 %": 0.999}
    found = {name: latency.quantile(share) for name, share in shares.items()}
    page.picture(draw_latency(latency.edges, latency.counts, found), "From a packet's arrival to the answer.")
    cells = [
        f"{int(latency.counts.sum()):,}",
        *(duration(value) for value in found.values()),
        duration(latency.largest),
    ]
    page.table(["answers", *found, "longest"], [cells])
    page.words("Quantiles are those of bins, right to 2.4 %.", small=True)


def _add_counters(page: Page, log: Log) -> None:
    """A row a stream, a column a fate; then causes; then all other counters; then fates over time."""
    page.section("Counters")
    streams = cast("Mapping[str, Any]", log.counters.get("streams", {}))
    parts = {"all": {k: v for k, v in log.counters.items() if not isinstance(v, Mapping)}} | dict(streams)
    parts = {name: part for name, part in parts.items() if isinstance(part, Mapping)}
    head = [name for name in ("received", *FATES) if any(name in part for part in parts.values())]
    if head:
        page.table(
            ["stream", *head], [[name, *(f"{part.get(one, 0):,}" for one in head)] for name, part in parts.items()]
        )
    others = [
        [name, cause, f"{count:,}"]
        for name, part in parts.items()
        for cause, count in part.items()
        if cause not in head and not isinstance(count, Mapping)
    ]
    others += [
        [group, name, f"{count:,}"]
        for group, inner in log.counters.items()
        if isinstance(inner, Mapping) and group != "streams"
        for name, count in cast("Mapping[str, Any]", inner).items()
        if not isinstance(count, Mapping)
    ]
    if others:
        page.table(["stream", "what", "count"], others, names=2)
    stamps, columns = log.counted or (None, {})
    risen = {name: values for name, values in columns.items() if values.any()}
    if stamps is not None and len(stamps) > 1 and risen:
        page.picture(draw_curves(stamps, risen, label="packets", steps=True), "Counters as the run went on.")


def _add_fit(page: Page, folder: Path) -> None:
    if (folder / "results.json").is_file():
        page.section("Results")
        page.text(table(read_results(folder / "results.json")))
    if (folder / "metrics.csv").is_file() and not (folder / "pictures" / "training.png").is_file():
        _add_training(page, folder / "metrics.csv")
    drawn = sorted(path for path in (folder / "pictures").rglob("*") if path.suffix.lower() in _PICTURES)
    left = _MOST
    if drawn:
        page.section("Pictures")
    for path in drawn:
        left -= path.stat().st_size
        name = path.relative_to(folder / "pictures").as_posix()
        if left < 0:
            page.words(f"{name} is left out: pictures of more than {_MOST // 10**6} MB in all.", bad=True)
            continue
        page.picture(path.read_bytes(), name)
    if (folder / "config.yaml").is_file():
        page.section("Recipe")
        page.text((folder / "config.yaml").read_text(encoding="utf-8", errors="replace"))


def _add_training(page: Page, metrics: Path) -> None:
    """Draw the curves of a run that was not tested; a test draws them itself."""
    from mambats.plots import draw_training

    with tempfile.TemporaryDirectory() as scratch:
        try:
            drawn = draw_training(metrics, Path(scratch) / "training.png").read_bytes()
        except ValueError:
            return  # stopped before its first step
    page.section("Training")
    page.picture(drawn, "metrics.csv")


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else "none came"
