"""What the hold is tested on."""

from functools import partial

import torch

from mambats_kernels.case import Arguments, generator


def arguments(
    seed: int,
    device: torch.device | str = "cpu",
    *,
    batch: int = 2,
    rows: int = 7,
    sources: int = 8,
    instants: int = 6,
    masked: bool = True,
) -> Arguments:
    """Make arguments of `hold` from a seed: few instants, so that many stamps are equal.

    Args:
        seed: Same seed, same numbers, on every device.
        device: Where they are put.
        batch: B.
        rows: Tokens of the target.
        sources: Tokens of the source.
        instants: How many different stamps there are.
        masked: Whether some source tokens do not exist; their stamps are then out of all order.

    Returns:
        Keyword arguments.
    """
    g = generator(seed)
    stamps = torch.randint(0, instants, (batch, rows), generator=g)
    source = torch.randint(0, instants, (batch, sources), generator=g).sort(1).values
    ties = torch.rand((batch, rows), generator=g) < 0.5
    given: Arguments = {"stamps": stamps, "source_stamps": source, "ties": ties}
    if masked:
        mask = torch.rand((batch, sources), generator=g) < 0.6
        given |= {"source_mask": mask, "source_stamps": torch.where(mask, source, -7)}
    return {name: value.to(device) for name, value in given.items()}


_MAKERS = {
    "masked": arguments,
    "whole": partial(arguments, masked=False),
    "one_token": partial(arguments, rows=1, sources=1),
    "no_source": partial(arguments, sources=0),
    "no_target": partial(arguments, rows=0),
    "long": partial(arguments, batch=3, rows=33, sources=65, instants=40),
}
CASES = {f"hold/{name}": make for name, make in _MAKERS.items()}
