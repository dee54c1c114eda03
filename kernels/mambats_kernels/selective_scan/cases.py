"""What the selective scan is tested and timed on."""

from functools import partial
from itertools import pairwise

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


def _cut_at_random(seed: int, batch: int, tokens: int) -> tuple[int, ...]:
    cut = torch.randperm(batch * tokens + 1, generator=torch.Generator().manual_seed(seed))[:15].sort().values
    return tuple(b - a for a, b in pairwise((0, *cut.tolist(), batch * tokens)))


def _half_to_three_halves(seed: int, batch: int, tokens: int) -> tuple[int, ...]:
    ends = (torch.rand(batch, generator=torch.Generator().manual_seed(seed)) + 0.5).cumsum(0)
    return tuple(b - a for a, b in pairwise((0, *(ends / ends[-1] * batch * tokens).round().int().tolist())))


# Ways to pack B T tokens. The longest of 16 at random has a fifth of all; of as many as there were rows, each has T
# tokens, or half to one and a half times as many: what a user packs instead of padding.
PACKS = {
    "packed": _cut_at_random,
    "alike": lambda seed, batch, tokens: (tokens,) * batch,
    "ragged": _half_to_three_halves,
}


def timed(
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
    *,
    shape: tuple[int, int, int, int],
    extras: tuple[str, ...] = (),
) -> Arguments:
    """Make large arguments on the device itself, with everything that a Mamba layer gives: D, z, dt_bias, softplus.

    Args:
        seed: Same seed, same numbers on the same kind of device.
        dtype: Of x, dt, B, C and z.
        device: Where they are made.
        shape: (B, T, D, N).
        extras: "gaps", "state" (an initial one), and one of `PACKS`: how the B T tokens are packed, nothing left over.

    Returns:
        Keyword arguments; step sizes are 0.007 to 0.05, as a fresh layer has them.
    """
    (batch, tokens, width, size) = shape
    random = torch.Generator(device).manual_seed(seed)
    lengths = next((PACKS[name](seed, batch, tokens) for name in PACKS if name in extras), None)
    if lengths is not None:
        batch, tokens = 1, batch * tokens

    def normal(*sizes: int, as_type: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.randn(sizes, generator=random, device=device, dtype=as_type)

    given: Arguments = {name: normal(batch, tokens, width, as_type=dtype) for name in ("x", "dt", "z")}
    given |= {name: normal(batch, tokens, size, as_type=dtype) for name in ("B", "C")}
    given["dt"] *= 0.5
    given["A"] = -torch.arange(1, size + 1, device=device, dtype=torch.float32).repeat(width, 1)
    given |= {"D": normal(width), "dt_bias": 0.25 * normal(width) - 4.0, "dt_softplus": True}
    rows = batch
    if lengths is not None:
        given["cu_seqlens"], rows = borders(lengths, device), len(lengths)
    if "gaps" in extras:
        given["gaps"] = normal(batch, tokens).abs()
    if "state" in extras:
        given["initial_state"] = normal(rows, width, size)
    return given


# Shapes (B, T, D, N) of the project's promises on a GPU: short windows, language models, one long sequence.
GPU_SHAPES = (
    (256, 96, 128, 16),
    (512, 96, 512, 16),
    (1, 131072, 128, 16),
    (64, 512, 256, 16),
    (8, 2048, 1536, 16),
    (4, 8192, 1536, 16),
    (1, 32768, 1536, 16),
    (1, 131072, 1024, 16),
    (1, 131072, 1536, 16),
    (8, 2048, 1536, 64),
)
