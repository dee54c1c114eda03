"""What the scan in both directions is tested on."""

from functools import partial

import torch

from mambats_kernels.case import Arguments
from mambats_kernels.selective_scan import cases


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
    tied: bool = False,
) -> Arguments:
    """Make arguments of `bidirectional_scan` from a seed: those of `selective_scan`, without states and direction.

    Args:
        seed: Same seed, same numbers, on every device.
        dtype: Of x, dt, B, C and z.
        device: Where they are put.
        shape: (B, T, D, N).
        groups: G, or None for B and C without a group axis.
        plain: Leave out D, z, dt_bias and gaps.
        lengths: Lengths of packed sequences.
        views: Give x and B as views that are not contiguous.
        hold: Passed on.
        tied: Leave A_reverse out.

    Returns:
        Keyword arguments.
    """
    given = cases.arguments(
        seed, dtype, device, shape=shape, groups=groups, plain=plain, lengths=lengths, views=views, hold=hold
    )
    given.pop("initial_state", None)
    del given["reverse"]
    if not tied:
        given["A_reverse"] = 0.5 * given["A"].flip(0) - 0.1
    return given


_LENGTHS = (0, 4, 1, 0, 7, 0)
_MAKERS = {
    "plain": partial(arguments, plain=True, tied=True),
    "full": arguments,
    "tied": partial(arguments, tied=True),
    "hold": partial(arguments, hold=True),
    "groups": partial(arguments, groups=2, views=True),
    "one_token": partial(arguments, shape=(3, 1, 4, 2)),
    "odd": partial(arguments, shape=(3, 37, 7, 5), views=True),
    "packed": partial(arguments, shape=(1, 14, 6, 3), lengths=_LENGTHS),
    "packed_hold": partial(arguments, shape=(1, 12, 6, 3), lengths=_LENGTHS, hold=True, groups=3, tied=True),
}
CASES = {f"bidirectional_scan/{name}": make for name, make in _MAKERS.items()}
