"""What the causal convolution is tested and timed on."""

from functools import partial

import torch

from mambats_kernels.case import TOLERANCE, Arguments, Case, borders, generator, strided
from mambats_kernels.causal_conv import op, reference


def arguments(
    seed: int,
    dtype: torch.dtype,
    device: torch.device,
    *,
    shape: tuple[int, int, int, int] = (2, 13, 5, 4),
    plain: bool = False,
    lengths: tuple[int, ...] | None = None,
    views: bool = False,
    reverse: bool = False,
    activation: str | None = "silu",
) -> Arguments:
    """Make arguments of `causal_conv` from a seed.

    Args:
        seed: Same seed, same numbers, on every device.
        dtype: Of x and the state; weight and bias are float32, or float64 with float64.
        device: Where they are put.
        shape: (B, T, D, W).
        plain: Leave out bias and initial state.
        lengths: Lengths of packed sequences; what is left of T is a tail of NaN.
        views: Give x as a view that is not contiguous.
        reverse: Passed on.
        activation: Passed on.

    Returns:
        Keyword arguments.
    """
    (batch, tokens, width, taps), random = shape, generator(seed)

    def normal(*sizes: int) -> torch.Tensor:
        return torch.randn(sizes, generator=random, dtype=torch.float64)

    wide = torch.float64 if dtype == torch.float64 else torch.float32
    rows = batch if lengths is None else len(lengths)
    x = normal(batch, tokens, width)
    if lengths is not None:
        x[:, sum(lengths) :] = torch.nan
    x = x.to(device, dtype)
    given: Arguments = {"x": strided(x) if views else x, "weight": normal(width, taps).to(device, wide)}
    if not plain:
        given["bias"] = normal(width).to(device, wide)
        given["initial_state"] = normal(rows, taps - 1, width).to(device, dtype)
    cu_seqlens = None if lengths is None else borders(lengths, device)
    return {**given, "activation": activation, "reverse": reverse, "cu_seqlens": cu_seqlens}


_LENGTHS = (0, 4, 1, 0, 7, 0)
_MAKERS = {
    "plain": partial(arguments, plain=True, activation=None),
    "full": arguments,
    "reverse": partial(arguments, reverse=True),
    "width_one": partial(arguments, shape=(2, 5, 3, 1)),
    "wide_short": partial(arguments, shape=(2, 3, 4, 7)),
    "wide_short_reverse": partial(arguments, shape=(2, 3, 4, 7), reverse=True, views=True),
    "one_token": partial(arguments, shape=(3, 1, 4, 4)),
    "odd": partial(arguments, shape=(3, 37, 7, 3), views=True),
    "packed": partial(arguments, shape=(1, 14, 5, 4), lengths=_LENGTHS),
    "packed_reverse": partial(arguments, shape=(1, 14, 5, 4), lengths=_LENGTHS, reverse=True),
    "packed_plain": partial(arguments, shape=(1, 12, 5, 3), lengths=_LENGTHS, plain=True, activation=None),
    "packed_wide": partial(arguments, shape=(1, 17, 3, 9), lengths=_LENGTHS),
    "packed_width_one": partial(arguments, shape=(1, 14, 3, 1), lengths=_LENGTHS),
}

CASES = [
    Case(f"causal_conv/{name}", "causal_conv", make, op.causal_conv, reference.causal_conv, TOLERANCE)
    for name, make in _MAKERS.items()
]

BENCHES = [
    Case(
        f"causal_conv/{name}",
        "causal_conv",
        partial(arguments, shape=shape, lengths=lengths),
        op.causal_conv,
        reference.causal_conv,
        TOLERANCE,
    )
    for name, shape, lengths in (
        ("B32_T512_D128_W4", (32, 512, 128, 4), None),
        ("B4_T8192_D128_W4", (4, 8192, 128, 4), None),
        ("packed_32x96_D128_W4", (1, 3072, 128, 4), (96,) * 32),
    )
]


def timed(seed: int, dtype: torch.dtype, device: torch.device, *, shape: tuple[int, int, int, int]) -> Arguments:
    """Make large arguments of shape (B, T, D, W) on the device itself: x, weight, bias and SiLU, no state."""
    (batch, tokens, width, taps), random = shape, torch.Generator(device).manual_seed(seed)
    x = torch.randn(batch, tokens, width, generator=random, device=device, dtype=dtype)
    weight = torch.randn(width, taps, generator=random, device=device)
    return {"x": x, "weight": weight, "bias": torch.randn(width, generator=random, device=device), "activation": "silu"}


# Shapes (B, T, D, W) of the project's promises on a GPU.
GPU_SHAPES = ((8, 2048, 1536, 4), (64, 512, 256, 4))
