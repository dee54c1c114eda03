"""The project's promises on one H100: published times of the rivals, and how much faster ours must and shall be."""

from dataclasses import dataclass

Pair = tuple[float | None, float | None]


@dataclass(frozen=True)
class Bar:
    """One promise; pairs are (fwd, fwd+bwd).

    Attributes:
        label: The row's name in the table.
        section: Of our row, see `bench.row.Row`.
        case: Of our row.
        published: Milliseconds of the rival on an H100 of the same kind (torch 2.11, triton 3.6).
        must: Times faster than the rival that ours must be.
        aim: Times faster that it shall be.
        rival: Its name.
        dtype: Of our row.
        clock: "device_ms" or "eager_ms".
        who: What our row's name must hold.
    """

    label: str
    section: str
    case: str
    published: Pair
    must: Pair
    aim: Pair
    rival: str = "mamba_ssm"
    dtype: str = "bfloat16"
    clock: str = "device_ms"
    who: str = ""


def _scan(shape: str, published: Pair, must: Pair, aim: Pair, dtype: str = "bfloat16") -> Bar:
    kind = "" if dtype == "bfloat16" else " fp32"
    return Bar(f"scan{kind} {_short(shape)}", "scan", f"selective_scan/{shape}", published, must, aim, dtype=dtype)


def _both(shape: str, published: Pair, must: Pair, aim: Pair) -> Bar:
    label = f"bidirectional {_short(shape)}, to 2 calls + flips"
    return Bar(label, "bidirectional", f"selective_scan/{shape}", published, must, aim, who="one call")


def _short(shape: str) -> str:
    return "(" + ", ".join(part[1:] for part in shape.split("_")) + ")"


LARGE, SHORT = "B8_T2048_D1536_N16", "B256_T96_D128_N16"
BARS = (
    _scan(SHORT, (0.162, 0.591), (4.7, 4.3), (6, 6)),
    _scan("B512_T96_D512_N16", (1.211, 4.48), (5.8, 4.8), (8, 7)),
    _scan("B1_T131072_D128_N16", (1.285, 4.10), (4.6, 4.4), (6, 6)),
    _scan("B64_T512_D256_N16", (0.148, 0.732), (1.9, 2.2), (2.6, 3.0)),
    _scan(LARGE, (0.452, 2.285), (1.9, 2.3), (2.7, 3.3)),
    _scan("B4_T8192_D1536_N16", (1.080, 4.80), (1.5, 1.9), (2.2, 2.7)),
    _scan("B1_T131072_D1024_N16", (2.94, 14.4), (1.6, 2.2), (2.3, 3.0)),
    _scan("B8_T2048_D1536_N64", (1.50, 8.66), (1.5, 2.4), (2.2, 3.3)),
    _scan(LARGE, (0.882, 2.94), (1.5, 1.5), (2.5, 2.2), "float32"),
    _both(LARGE, (1.214, 5.353), (2.4, 2.7), (3.4, 3.8)),
    _both(SHORT, (0.366, 1.308), (5.6, 4.7), (7, 6.5)),
    Bar("eager, scan (256, 96, 128, 16)", "scan", f"selective_scan/{SHORT}", (0.164, 0.603), (1.5, 2), (3, 4),
        clock="eager_ms"),
    Bar("triton back-end (8, 2048, 1536, 16)", "backends", f"selective_scan/{LARGE}", (0.452, 2.285), (1.2, 0.6),
        (None, None), who="triton"),
    Bar("conv + SiLU (8, 2048, 1536)", "conv", "causal_conv/B8_T2048_D1536_W4", (0.041, 0.103), (0.95, 0.9),
        (1.1, 1.1), rival="causal_conv1d"),
    Bar("conv + SiLU (64, 512, 256)", "conv", "causal_conv/B64_T512_D256_W4", (0.020, 0.063), (1.0, 1.1),
        (1.2, 1.5), rival="causal_conv1d"),
    Bar("step B=1, D 1536, eager", "step", "selective_step/B1_D1536_N16", (0.159, None), (2.5, None), (4, None),
        clock="eager_ms"),
    Bar("step B=64, D 1536, eager", "step", "selective_step/B64_D1536_N16", (0.136, None), (2.5, None), (4, None),
        clock="eager_ms"),
    Bar("whole block step, width 768, B=1, eager", "step", "block_step/B1_d768", (1.05, None), (3, None), (None, None),
        clock="eager_ms"),
    Bar("the same behind one call (CapturedStep)", "step", "block_step/B1_d768", (1.05, None), (3, None), (10, None),
        clock="eager_ms", who="captured"),
)  # fmt: skip

# With gaps, packed and with an initial state at most so many times the time of the dense batch of those tokens without.
EXTRAS = 1.10
# Their kinds; `selective_scan.cases.PACKS` says how tokens are packed. The last two everywhere, all where the promises
# are tightest: each is compiled anew.
KINDS = (
    ("gaps",), ("packed",), ("alike",), ("ragged",), ("state",),
    ("gaps", "packed", "state"), ("gaps", "ragged", "state"),
)  # fmt: skip
# mamba_ssm at (8, 2048, 1536, 16): MiB held after the forward pass, and most of forward and backward, above the inputs.
MEMORY = {"case": f"selective_scan/{LARGE}", "held_mib": 97.5, "peak_mib": 245.0}
