"""What the scan over streams is tested on."""

from functools import partial

import torch

from mambats_kernels.case import Arguments, borders, generator

# Lengths of the sequences of each of four streams, and how much lies behind them: none, one, empty ones.
LENGTHS = ((3, 0, 2), (5,), (0, 0), (1, 4))
TAILS = (2, 0, 1, 0)


def arguments(
    seed: int,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    *,
    width: int = 4,
    size: int = 3,
    hold: bool = False,
    reverse: bool = False,
    plain: bool = False,
) -> Arguments:
    """Make arguments of `multi_scan` from a seed.

    Args:
        seed: Same seed, same numbers, on every device.
        dtype: Of x, dt, B, C and z; the rest is float32, or float64 with float64.
        device: Where they are put.
        width: D.
        size: N.
        hold: Passed on.
        reverse: Passed on.
        plain: Leave out D, z, gaps, states, and give one bias for all streams.

    Returns:
        Keyword arguments.
    """
    g, place = generator(seed), torch.device(device)
    wide = torch.promote_types(dtype, torch.float32)

    def draw(*shape: int, kind: torch.dtype = wide) -> torch.Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64).to(place, kind)

    tokens = [sum(lengths) + tail for lengths, tail in zip(LENGTHS, TAILS, strict=True)]
    length, streams = sum(tokens), len(LENGTHS)
    given: Arguments = {name: draw(1, length, width, kind=dtype) for name in ("x", "dt", "z")}
    given |= {name: draw(1, length, size, kind=dtype) for name in ("B", "C")}
    given |= {"A": -draw(width, size).exp(), "D": draw(width), "dt_bias": draw(streams, width), "dt_softplus": True}
    given |= {"gaps": draw(1, length).abs(), "initial_state": [draw(len(part), width, size) for part in LENGTHS]}
    given |= {"tokens": tokens, "cu_seqlens": [borders(part, place) for part in LENGTHS]}
    if plain:
        given = {n: v for n, v in given.items() if n not in ("D", "z", "gaps", "initial_state")}
        given["dt_bias"] = given["dt_bias"][0]
    return given | {"hold": hold, "reverse": reverse}


_MAKERS = {
    "full": arguments,
    "hold": partial(arguments, hold=True),
    "reverse": partial(arguments, reverse=True),
    "plain": partial(arguments, plain=True),
    "odd": partial(arguments, width=7, size=5, hold=True, reverse=True),
}
CASES = {f"multi_scan/{name}": make for name, make in _MAKERS.items()}
