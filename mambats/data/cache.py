"""A panel on disk as plain .npy files: read as a memory map, with numpy alone.

folder/
meta.json       format version, names, sha256 and shape of every array
stamps.npy      int64 (rows,)
offsets.npy     int64 (series + 1,)
target.npy      float32 (C, rows)       past.npy future.npy static.npy likewise
target_observed.npy  bool (C, rows)     where something is missing
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mambats.data.panel import Block, Panel, build_panel
from mambats.data.split import Borders
from mambats.formats.error import DataError
from mambats.formats.store.stage import staged
from mambats.protocols import Source
from mambats.series import Recording, Stream

FORMAT = 1


@dataclass(frozen=True)
class Cached:
    """A panel on disk; made from another source where the folder is not there yet.

    Training needs only numpy then: build the cache on a machine with polars, copy the folder, train anywhere.

    Args:
        path: Folder of the cache.
        source: What to build it from, or None if it is there already. A cache built from something else is refused.
        verify: Compare every array with its sha256 when opened (reads all of it once).
    """

    path: str
    source: Source | None = None
    verify: bool = True

    @property
    def name(self) -> str:
        """Name of the data inside."""
        return str(_read_meta(Path(self.path))["name"]) if self._there else Path(self.path).name

    @property
    def borders(self) -> Borders | None:
        """Published borders of the data inside, or None."""
        if not self._there:
            return getattr(self.source, "borders", None)
        written = _read_meta(Path(self.path))["borders"]
        return None if written is None else Borders(**written)

    @property
    def _there(self) -> bool:
        return (Path(self.path) / "meta.json").is_file()

    def panel(self) -> Panel:
        """Open the panel, building the cache first if need be.

        Raises:
            DataError: If there is no cache and no source, or the cache is damaged, old, or of another source.
        """
        folder = Path(self.path)
        if not self._there:
            self._build(folder)
        panel = read_cache(folder, verify=self.verify)
        if self.source is not None:
            _check_source(folder, self.source)
        return panel

    def recordings(self) -> list[Recording]:
        """Return the series as recordings, copied into memory."""
        panel = self.panel()
        return [_recording(panel, index) for index in range(len(panel))]

    def _build(self, folder: Path) -> None:
        if self.source is None:
            raise DataError(f"{folder}: there is no cache here (no meta.json). Name its folder, or give a `source`.")
        build: Callable[[Path], None] | None = getattr(self.source, "write_cache", None)
        if build is not None:
            build(folder)
            return
        name = str(getattr(self.source, "name", type(self.source).__name__))
        borders = getattr(self.source, "borders", None)
        write_cache(build_panel(name, self.source.recordings()), folder, origin(self.source), borders)


def write_cache(panel: Panel, folder: Path | str, made_from: str = "", borders: Borders | None = None) -> None:
    """Write a panel to a folder, whole or not at all.

    Args:
        panel: What to write.
        folder: New folder; one that exists is replaced.
        made_from: Recipe of the source, compared when the cache is opened for a source.
        borders: Published borders, kept with the data.
    """
    with staged(Path(folder)) as stage:
        np.save(stage / "stamps.npy", panel.stamps)
        np.save(stage / "offsets.npy", panel.offsets)
        for part, block in panel.blocks.items():
            np.save(stage / f"{part}.npy", block.values)
            if block.observed is not None:
                np.save(stage / f"{part}_observed.npy", block.observed)
        facts = {"name": panel.name, "ids": panel.ids, "made_from": made_from, "borders": borders and asdict(borders)}
        finish(stage, facts, {part: block.names for part, block in panel.blocks.items()})


def read_cache(folder: Path, *, verify: bool = True) -> Panel:
    """Open a panel as memory maps.

    Raises:
        DataError: If a file is missing, damaged, or of another format version.
    """
    meta = _read_meta(folder)
    arrays = {name: _open(folder, name, facts, verify) for name, facts in meta["arrays"].items()}
    panel = _panel(meta, arrays)
    # Written with the data, which was verified just now: the data need not be read again to name it.
    panel.__dict__["fingerprint"] = meta["fingerprint"]
    return panel


def finish(stage: Path, facts: Mapping[str, Any], names: Mapping[str, tuple[str, ...]]) -> None:
    """Write meta.json over the arrays that lie in `stage`; it comes last, so a folder with it is complete."""
    arrays = {path.stem: _facts(path) for path in sorted(stage.glob("*.npy"))}
    meta = {"format": FORMAT, **facts, "names": names, "arrays": arrays}
    meta["fingerprint"] = _panel(meta, {name: _open(stage, name, arrays[name], False) for name in arrays}).fingerprint
    (stage / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")


def _panel(meta: Mapping[str, Any], arrays: Mapping[str, Any]) -> Panel:
    blocks = {
        part: Block(tuple(names), arrays[part], arrays.get(f"{part}_observed")) for part, names in meta["names"].items()
    }
    return Panel(meta["name"], tuple(meta["ids"]), arrays["stamps"], arrays["offsets"], **blocks)


def _facts(path: Path) -> dict[str, Any]:
    array = np.load(path, mmap_mode="r")
    return {"sha256": _sha256(path), "dtype": array.dtype.str, "shape": list(array.shape)}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_meta(folder: Path) -> dict[str, Any]:
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder}: meta.json cannot be read ({error}). Delete the folder and build it again."
        ) from error
    if meta.get("format") != FORMAT:
        raise DataError(f"{folder}: cache format {meta.get('format')}, this version reads {FORMAT}. Build it again.")
    return meta


def _open(folder: Path, name: str, facts: dict[str, Any], verify: bool) -> Any:
    path = folder / f"{name}.npy"
    try:
        # Copy-on-write: torch wants writable memory, the file stays as it is.
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}). Delete the folder and build it again.") from error
    if [array.dtype.str, list(array.shape)] != [facts["dtype"], facts["shape"]] or (
        verify and _sha256(path) != facts["sha256"]
    ):
        raise DataError(f"{path}: not the array that was written (its checksum differs). Build the cache again.")
    return array


def origin(source: Source) -> str:
    """Write a source's settings as JSON text: what a cache was made from. Where its files lay does not count."""

    def plain(value: Any) -> Any:
        return {type(value).__name__: {key: item for key, item in vars(value).items() if key != "root"}}

    try:
        return json.dumps(source, default=plain)
    except TypeError as error:
        raise DataError(
            f"{type(source).__name__} holds what cannot be written down ({error}), so no cache can say what it was "
            "made from. Save the data as Parquet and make the cache from a Table."
        ) from error


def _check_source(folder: Path, source: Source) -> None:
    meta = _read_meta(folder)
    if meta["made_from"] != origin(source):
        raise DataError(
            f"{folder}: the cache was made from {meta['made_from']}, asked for is {origin(source)}. "
            "Delete the folder to build it again, or name another one."
        )
    state = getattr(source, "state", lambda: None)()
    if state is not None and state != meta.get("state", state):
        raise DataError(f"{folder}: the file it was made from has changed. Delete the folder to build it again.")


def _recording(panel: Panel, index: int) -> Recording:
    rows = panel.rows(index)
    streams = {
        part: Stream(
            panel.stamps[rows],
            np.array(block.values[:, rows].T),
            block.names,
            None if block.observed is None else np.array(block.observed[:, rows].T),
        )
        for part, block in panel.blocks.items()
        if part != "static"
    }
    facts = (
        {}
        if panel.static is None
        else dict(zip(panel.static.names, (float(value) for value in panel.static.values[:, index]), strict=True))
    )
    return Recording(panel.ids[index], streams, facts)
