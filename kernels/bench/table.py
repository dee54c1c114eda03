"""Measurements as Markdown: promises, all of ours, extras, attention, rivals."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bench.bars import BARS, EXTRAS, KINDS, MEMORY, Bar
from bench.row import Machine, Row

OURS = ("cuda", "triton", "native", "torch", "reference")
PASSES = ("fwd", "fwd+bwd")


def ours(row: Row) -> bool:
    """Whether a row is one of our back-ends."""
    return row.who.split(",")[0] in OURS


def digits(value: float | None) -> str:
    """Three digits that count; a dash for nothing."""
    if value is None:
        return "-"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table; empty text if it has no lines."""
    body = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join(["| " + " | ".join(head) + " |", "|---" * len(head) + "|", *body]) if body else ""


def pick(rows: Sequence[Row], test: Callable[[Row], bool]) -> Row | None:
    """The first row that passes and holds a time."""
    return next((row for row in rows if row.device_ms is not None and test(row)), None)


def our_row(rows: Sequence[Row], bar: Bar, step: str) -> Row | None:
    """The row of ours that a bar speaks of."""
    key = (bar.section, bar.case, bar.dtype, step)
    return pick(rows, lambda r: (r.section, r.case, r.dtype, r.step) == key and ours(r) and bar.who in r.who)


def rival_ms(rows: Sequence[Row], bar: Bar, which: int) -> tuple[float | None, str]:
    """The rival's milliseconds: measured in the same run if it could be, else published."""
    section = "scan" if bar.section == "backends" else bar.section
    key = (section, bar.case, bar.dtype, PASSES[which], bar.rival)
    row = pick(rows, lambda r: (r.section, r.case, r.dtype, r.step, r.who) == key)
    if row is not None:
        return getattr(row, bar.clock), "this run"
    return bar.published[which], "published"


def ratio_of(rows: Sequence[Row], bar: Bar, which: int) -> float | None:
    """How many times faster than the rival ours is."""
    row, (other, _) = our_row(rows, bar, PASSES[which]), rival_ms(rows, bar, which)
    own = None if row is None else getattr(row, bar.clock)
    return other / own if own and other else None


def verdict(ratio: float | None, must: float | None, aim: float | None) -> str:
    """A ratio and what was asked."""
    if must is None:
        return "-"
    asked = f"must {must:g}" + (f", aim {aim:g}" if aim else "")
    if ratio is None:
        return f"not measured ({asked})"
    grade = "aim met" if aim and ratio >= aim else "met" if ratio >= must else "**missed**"
    return f"{ratio:.2f}x {grade} ({asked})"


def promises(rows: Sequence[Row]) -> str:
    """The table of the project's promises."""
    lines: list[list[str]] = []
    for bar in BARS:
        found = [our_row(rows, bar, step) for step in PASSES]
        own = [digits(getattr(row, bar.clock) if row else None) for row in found]
        other = [rival_ms(rows, bar, which) for which in (0, 1)]
        names = {row.who for row in found if row}
        line = [bar.label, ", ".join(sorted(names)) or "-", f"{own[0]} / {own[1]}"]
        line += [f"{bar.rival}, {other[0][1]}: {digits(other[0][0])} / {digits(other[1][0])}"]
        line += [verdict(ratio_of(rows, bar, which), bar.must[which], bar.aim[which]) for which in (0, 1)]
        lines.append(line)
    head = ["op, (B, T, D, N), bfloat16", "back-end", "ours fwd / fwd+bwd ms", "rival ms", "fwd", "fwd+bwd"]
    return table(head, lines)


def count(rows: Sequence[Row]) -> str:
    """How many promises are kept, and what the first call of a shape took at most."""
    found = [(ratio_of(rows, bar, which), bar.must[which], bar.aim[which]) for bar in BARS for which in (0, 1)]
    asked = [(ratio or 0.0, must, aim) for ratio, must, aim in found if must is not None]
    kept = sum(ratio >= must for ratio, must, _ in asked)
    aims = sum(aim is not None and ratio >= aim for ratio, _, aim in asked)
    begun = [row for row in rows if row.first_ms and ours(row)]
    slowest = max(begun, key=lambda row: row.first_ms or 0.0, default=None)
    told = f"{kept} of {len(asked)} promises kept, {aims} of {sum(aim is not None for *_, aim in asked)} aims reached."
    if slowest is None:
        return told
    return f"{told} Slowest first call: {digits(slowest.first_ms)} ms ({slowest.case}, {slowest.who}, {slowest.step})."


def memory(rows: Sequence[Row]) -> str:
    """What a pass holds, against what mamba_ssm was seen to hold."""
    key = (MEMORY["case"], "bfloat16", "fwd+bwd", "scan")
    row = pick(rows, lambda r: (r.case, r.dtype, r.step, r.section) == key and ours(r))
    if row is None or row.held_mib is None or row.peak_mib is None:
        return ""
    held, peak = float(MEMORY["held_mib"]), float(MEMORY["peak_mib"])
    return (
        f"Memory above the inputs at (8, 2048, 1536, 16), bfloat16: held after forward {row.held_mib:.1f} MiB of at "
        f"most {held} ({_grade(row.held_mib, held)}; without the outputs {digits(row.saved_mib)} MiB), peak of fwd+bwd "
        f"{row.peak_mib:.1f} MiB of at most {peak:g} ({_grade(row.peak_mib, peak)})."
    )


def _grade(found: float, limit: float) -> str:
    return "half or less" if found <= limit / 2 else "met" if found <= limit else "**missed**"


def _floors(row: Row) -> str:
    found = [row.device_ms / v if v and row.device_ms else None for v in (row.bytes_ms, row.arithmetic_ms)]
    return " / ".join(digits(v) for v in found)


def measured(rows: Sequence[Row], test: Callable[[Row], bool]) -> str:
    """All figures of some rows."""
    head = ["case", "dtype", "who", "pass", "device ms", "eager ms", "host ms", "x bytes / exp2 floor",
            "saved (held) MiB", "peak MiB", "first call ms"]  # fmt: skip
    lines = [
        [row.case, row.dtype, row.who, row.step, digits(row.device_ms) + (" (eager)" if row.note else ""),
         digits(row.eager_ms), digits(row.host_ms), _floors(row),
         "-" if row.saved_mib is None else f"{row.saved_mib:.1f} ({digits(row.held_mib)})",
         digits(row.peak_mib), digits(row.first_ms)]
        for row in rows if row.device_ms is not None and test(row)
    ]  # fmt: skip
    return table(head, lines)


PACKING = (
    "All B T tokens as one packed row, compared with the dense batch of B rows of T tokens: packed as 16 sequences cut "
    "at random (the longest has about a fifth of all), alike as B sequences of T, ragged as B sequences of half to one "
    "and a half times T. The GPU alone knows the lengths."
)


def extras(rows: Sequence[Row]) -> str:
    """What gaps, packing and an initial state cost: device time over the dense batch of as many tokens without."""
    cases = dict.fromkeys(row.case.partition("+")[0] for row in rows if row.section == "extras")
    kinds = ["+".join(kind) for kind in KINDS]
    lines: list[list[str]] = []
    for case in cases:
        for step in PASSES:
            plain = pick(rows, lambda r, c=case, s=step: (r.section, r.case, r.step) == ("scan", c, s) and ours(r))
            line = [case, step]
            for kind in kinds:
                key = ("extras", f"{case}+{kind}", step)
                row = pick(rows, lambda r, k=key: (r.section, r.case, r.step) == k and ours(r))
                line.append(_cost(row, plain))
            lines.append(line)
    return table(["case", "pass", *kinds], lines)


def _cost(row: Row | None, plain: Row | None) -> str:
    if row is None or plain is None or not row.device_ms or not plain.device_ms:
        return "-"
    times = row.device_ms / plain.device_ms
    return f"{times:.2f}" + ("" if times <= EXTRAS else " **over**")


def crossover(rows: Sequence[Row]) -> str:
    """Our scan against flash attention of the same batch, tokens and width."""
    lines: list[list[str]] = []
    for rival in (row for row in rows if row.section == "attention" and row.device_ms):
        key = ("scan", rival.case, rival.step, rival.dtype)
        row = pick(rows, lambda r, k=key: (r.section, r.case, r.step, r.dtype) == k and ours(r))
        if row is not None and row.device_ms and rival.device_ms:
            times = f"{rival.device_ms / row.device_ms:.2f}x"
            lines.append([rival.case, rival.step, digits(row.device_ms), digits(rival.device_ms), times])
    return table(["case", "pass", "our scan ms", "torch SDPA flash ms", "attention / scan"], lines)


def notes(rows: Sequence[Row]) -> str:
    """What was skipped or failed, and why."""
    found = dict.fromkeys(f"- {row.case}, {row.who}, {row.step}: {row.note}" for row in rows if row.note)
    return "\n".join(found)


def told(machine: Machine) -> str:
    """Device, versions, ceilings."""
    ceilings = (
        f"Ceilings of the same run: copy {digits(machine.copy_tb_s)} TB/s, exp2 {digits(machine.exp2_t_s)} x 10^12 / s."
    )
    return (
        f"{machine.device}, driver {machine.driver}, torch {machine.torch}, triton {machine.triton}, CUDA and NVRTC "
        f"{machine.nvrtc}, Python {machine.python}, {machine.date}. {ceilings if machine.copy_tb_s else ''}".rstrip()
    )


def render(machine: Machine, rows: Sequence[Row]) -> str:
    """Everything that a GPU run says."""
    parts = [
        ("", told(machine)),
        ("### Promises", promises(rows)),
        ("", count(rows)),
        ("", memory(rows)),
        ("### Attention", crossover(rows)),
        ("### Gaps, packing and states: device time over the dense batch (B, T) without", PACKING, extras(rows)),
        ("### Ours", measured(rows, lambda r: r.section not in ("extras", "attention") and ours(r))),
        ("### Rivals in the same run", measured(rows, lambda r: not ours(r))),
        ("### Skipped or odd", notes(rows)),
    ]
    return "\n\n".join("\n\n".join(filter(None, part)) for part in parts if part[-1]) + "\n"


def replace(page: Path, name: str, text: str) -> None:
    """Put text between a page's marks `<!-- bench NAME -->` and `<!-- end bench NAME -->`.

    Raises:
        ValueError: If the page has no such marks.
    """
    begin, end = f"<!-- bench {name} -->", f"<!-- end bench {name} -->"
    whole = page.read_text(encoding="utf-8")
    if begin not in whole or end not in whole:
        raise ValueError(f"{page} has no marks {begin} and {end}: put them where the table shall stand.")
    before, _, rest = whole.partition(begin)
    page.write_text(f"{before}{begin}\n\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")
