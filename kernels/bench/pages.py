"""Write the README's tables and the picture from CSV files."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from bench.row import Machine, Row, read
from bench.table import digits, render, replace, table, told


def cpu(rows: Sequence[Row]) -> str:
    """Back-ends side by side, and how many times the loop they are."""
    names = list(dict.fromkeys(row.who for row in rows if row.who not in ("reference", "default")))
    head = ["case", "dtype", "unbind loop fwd / fwd+bwd ms"]
    head += [*(f"{name} fwd / fwd+bwd ms (times the loop)" for name in names), "peak MiB above the inputs"]
    lines: list[list[str]] = []
    for (case, dtype), group in groupby(rows, key=lambda row: (row.case, row.dtype)):
        kept = list(group)
        found = {(row.who, row.step): row.device_ms or 0.0 for row in kept}
        if ("default", "fwd") in found:  # one token has no loop
            lines.append([case, dtype, "-", f"{digits(found['default', 'fwd'])} by default"])
            continue
        line = [case, dtype, _pair(found, "reference")]
        peaks = [f"{row.who} {row.peak_mib:.0f}" for row in kept if row.peak_mib is not None]
        lines.append([*line, *(_pair(found, name, "reference") for name in names), ", ".join(peaks) or "-"])
    return table(head, ([*line, *["-"] * (len(head) - len(line))] for line in lines))


def _pair(found: dict[tuple[str, str], float], name: str, beside: str | None = None) -> str:
    if (name, "fwd") not in found:
        return "-"
    steps = ("fwd", "fwd+bwd")
    times = " / ".join(digits(found[name, step]) for step in steps)
    if beside is None:
        return times
    return times + " (" + " / ".join(digits(found[beside, step] / found[name, step]) for step in steps) + ")"


def model(rows: Sequence[Row]) -> str:
    """Training samples and streamed rows a second, on torch operations (before) and by default (after)."""
    lines: list[list[str]] = []
    for (case, dtype, step), group in groupby(rows, key=lambda row: (row.case, row.dtype, row.step)):
        found = list(group)
        before = next((row for row in found if row.who == "torch"), None)
        for after in found:
            if after is before or before is None or not before.rate or not after.rate:
                continue
            rates = [digits(before.rate), f"{digits(after.rate)} ({after.who})", f"{after.rate / before.rate:.2f}x"]
            lines.append([case, dtype, step, *rates, after.note or "-"])
    head = ["model", "dtype", "what", "torch operations, series/s", "by default, series/s", "gain", "a step"]
    return table(head, lines)


def _heads(found: list[tuple[Machine, Row]], section: str) -> list[tuple[Machine, list[Row]]]:
    """Rows of a section by machine, in the order of the files."""
    chosen = [(where, row) for where, row in found if row.section == section]
    return [(where, [row for _, row in group]) for where, group in groupby(chosen, key=lambda pair: pair[0])]


def newest(found: list[tuple[Machine, Row]]) -> list[tuple[Machine, Row]]:
    """Of rows that time the same, the first that has a time: a later run of some cases is given before the whole."""
    kept: dict[tuple[str, ...], tuple[Machine, Row]] = {}
    for where, row in found:
        key = (row.section, row.case, row.dtype, row.who, row.step)
        if key not in kept or kept[key][1].device_ms is None:
            kept[key] = (where, row)
    return list(kept.values())


def write(paths: Sequence[Path], page: Path) -> None:
    """Write into a page what the files hold: GPU tables and picture, CPU tables, whole models.

    Args:
        paths: CSV files that `bench.py --csv` wrote; of GPU rows that time the same, the first file's count.
        page: Markdown with marks; see `bench.table.replace`. The picture `bench.png` goes beside it.

    Raises:
        ValueError: If a file has other columns, or the page lacks the marks.
    """
    found = read(paths)
    timed = newest([(where, row) for where, row in found if row.section not in ("cpu", "model")])
    if timed:
        machine, rows = timed[0][0], [row for _, row in timed]
        replace(page, "gpu", render(machine, rows))
        from bench.plot import draw  # matplotlib only where a picture is drawn

        draw(machine, rows, page.with_name("bench.png"))
    for section, form in (("cpu", cpu), ("model", model)):
        parts = [f"{_where(where)}\n\n{form(rows)}" for where, rows in _heads(found, section)]
        if parts:
            replace(page, section, "\n\n".join(parts) + "\n")


def _where(machine: Machine) -> str:
    if machine.driver != "none":
        return told(machine)
    return f"{machine.device}, {machine.threads} thread(s), torch {machine.torch}, {machine.date}."
