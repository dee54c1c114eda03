"""What the selective scan is tested and timed on."""

from functools import partial

import torch

from mambats_kernels.case import TOLERANCE, Arguments, Case, borders, generator, strided
from mambats_kernels.selective_scan import op, reference


def arguments(
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
    *,
    shape: tuple[int, int, int, int] = (2, 13, 6, 3),
    groups: int | None = None,
    plain: bool = False,
    lengths: tuple[int, ...] | None = None,
    views: bool = False,
    hold: bool = False,
    reverse: bool = False,
) -> Arguments:
    """Make arguments of `selective_scan` from a seed.

    Args:
        seed: Same seed, same numbers, on every device.
        dtype: Of x, dt, B, C and z; the rest is float32, or float64 with float64.
        device: Where they are put.
        shape: (B, T, D, N).
        groups: G, or None for B and C without a group axis.
        plain: Leave out D, z, dt_bias, gaps and the initial state.
        lengths: Lengths of packed sequences; what is left of T is a tail of NaN.
        views: Give x and B as views that are not contiguous.
        hold: Passed on.
        reverse: Passed on.

    Returns:
        Keyword arguments.
    """
    (batch, tokens, width, size), random = shape, generator(seed)

    def normal(*sizes: int) -> torch.Tensor:
        return torch.randn(sizes, generator=random, dtype=torch.float64)

    weights = (batch, tokens, size) if groups is None else (batch, tokens, groups, size)
    rows = batch if lengths is None else len(lengths)
    gaps = normal(batch, tokens).abs()
    gaps[:, ::5] = 0.0  # a second sensor with the same time stamp
    made = {"x": normal(batch, tokens, width), "dt": normal(batch, tokens, width), "B": normal(*weights)}
    made |= {"C": normal(*weights), "z": normal(batch, tokens, width)}
    if lengths is not None:
        for tensor in (*made.values(), gaps):
            tensor[:, sum(lengths) :] = torch.nan
    made = {name: tensor.to(device, dtype) for name, tensor in made.items()}
    made |= {"x": strided(made["x"]), "B": strided(made["B"])} if views else {}
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    rest = {"A": -normal(width, size).abs() - 0.05, "D": normal(width), "dt_bias": normal(width) - 1.0}
    rest |= {"gaps": gaps, "initial_state": normal(rows, width, size)}
    given = {**made, **{name: tensor.to(device, wide) for name, tensor in rest.items()}}
    if plain:
        given = {name: given[name] for name in ("x", "dt", "A", "B", "C")}
    cu_seqlens = None if lengths is None else borders(lengths, device)
    return {**given, "dt_softplus": True, "hold": hold, "reverse": reverse, "cu_seqlens": cu_seqlens}


_LENGTHS = (0, 4, 1, 0, 7, 0)
_MAKERS = {
    "plain": partial(arguments, plain=True),
    "full": arguments,
    "hold": partial(arguments, hold=True),
    "reverse": partial(arguments, reverse=True),
    "hold_reverse": partial(arguments, hold=True, reverse=True),
    "groups": partial(arguments, groups=2, views=True),
    "groups_all": partial(arguments, groups=6, hold=True),
    "one_token": partial(arguments, shape=(3, 1, 4, 2)),
    "one_channel": partial(arguments, shape=(1, 9, 1, 1)),
    "odd": partial(arguments, shape=(3, 37, 7, 5), views=True),
    "long": partial(arguments, shape=(1, 150, 3, 4)),
    "packed": partial(arguments, shape=(1, 14, 6, 3), lengths=_LENGTHS),
    "packed_hold": partial(arguments, shape=(1, 12, 6, 3), lengths=_LENGTHS, hold=True, groups=3),
    "packed_reverse": partial(arguments, shape=(1, 14, 6, 3), lengths=_LENGTHS, reverse=True, groups=2),
    "packed_plain": partial(arguments, shape=(1, 14, 6, 3), lengths=_LENGTHS, plain=True),
    "packed_hold_reverse": partial(arguments, shape=(1, 17, 6, 3), lengths=_LENGTHS, hold=True, reverse=True),
}

CASES = [
    Case(f"selective_scan/{name}", "selective_scan", make, op.selective_scan, reference.selective_scan, TOLERANCE)
    for name, make in _MAKERS.items()
]

# The shapes of the project's promises, and one that a sequence-packed encoder sees.
BENCHES = [
    Case(
        f"selective_scan/{name}",
        "selective_scan",
        partial(arguments, shape=shape, plain=True, lengths=lengths),
        op.selective_scan,
        reference.selective_scan,
        TOLERANCE,
    )
    for name, shape, lengths in (
        ("B32_T512_D128_N16", (32, 512, 128, 16), None),
        ("B8_T128_D128_N16", (8, 128, 128, 16), None),
        ("B4_T8192_D128_N16", (4, 8192, 128, 16), None),
        ("packed_32x96_D128_N16", (1, 3072, 128, 16), (96,) * 32),
    )
]
