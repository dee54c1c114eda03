"""How the chunked scan cuts time: runs that are scanned side by side, blocks whose states are in memory at once."""

from typing import NamedTuple

import torch
from torch import Tensor

# Taken once: forward, backward and a compiled graph must cut alike, whatever is set in between.
THREADS = min(torch.get_num_threads(), 8)


class Plan(NamedTuple):
    """Cut of a batch into shares of `rows`, and of T tokens into `runs` of `length`, walked `block` tokens at a time.

    Attributes:
        rows: Rows of the batch that are scanned together; the last share may have fewer.
        runs: S, runs that are scanned side by side as if they were rows of the batch.
        length: L, tokens of one run; S * L >= T, the rest is padding that changes nothing.
        block: K, tokens of a run whose states are in memory at once.
    """

    rows: int
    runs: int
    length: int
    block: int

    @property
    def blocks(self) -> int:
        """Blocks of a run, which is also the number of states saved for the backward pass."""
        return -(-self.length // self.block)

    def shares(self, batch: int) -> list[slice]:
        """The rows of every share."""
        return [slice(lo, lo + self.rows) for lo in range(0, batch, self.rows)]

    def spans(self) -> list[tuple[int, int]]:
        """First token and end of every block of a run."""
        return [(lo, min(lo + self.block, self.length)) for lo in range(0, self.length, self.block)]


def plan(device: torch.device, batch: int, tokens: int, state: int, threads: int = THREADS) -> Plan:
    """Choose the cut by what the device is short of: memory traffic on a CPU, launches on a GPU.

    Args:
        device: Where the scan runs.
        batch: B, rows that run side by side anyway.
        tokens: T >= 1.
        state: Numbers in the state of one row, D * N.
        threads: Of the CPU.

    Returns:
        The plan. Runs cost a second sweep over time, so there are none below four.
    """
    if device.type == "cpu":
        # A launch costs about 1 us, the time of 2**12 numbers. Buffers of 2**17 stay in a core's L2 cache, and torch
        # splits no launch under 2**15 numbers over threads: on two threads shares of 2**16 take 60 % of the time of
        # shares of 2**15, on one 105 % (32 rows, D = 128, N = 16).
        busy, room, least = 2**12, 2**17 * threads, 4 * threads
        rows = min(batch, max(1, 2**15 * threads // state))
    else:
        # A launch costs about 5 us, in which an H100 moves some 2**22 numbers; three buffers of 2**25 take 400 MB.
        busy, room, least, rows = 2**22, 2**25, 4, batch
    lanes = max(rows * state, 1)
    # 2 T / S + S launches are fewest at S = sqrt(2 T).
    runs = min(busy // lanes, int((2 * tokens) ** 0.5))
    runs = runs if runs >= 4 else 1
    length = -(-tokens // runs)
    block = max(least, room // (lanes * runs))  # at most a quarter of the states is saved for the backward pass
    return Plan(rows, runs, length, min(block, length))


def fold(x: Tensor, cut: Plan, reverse: bool) -> Tensor:
    """Bring (B, T, ...) to (L, B * S, ...), contiguous, in walking order, with zeros behind the end."""
    batch, tokens = x.shape[:2]
    if reverse:
        x = x.flip(1)
    missing = cut.runs * cut.length - tokens
    if missing:
        x = torch.cat([x, x.new_zeros((batch, missing, *x.shape[2:]))], 1)
    x = x.reshape(batch, cut.runs, cut.length, *x.shape[2:]).movedim(2, 0)
    return x.reshape(cut.length, batch * cut.runs, *x.shape[3:]).contiguous()


def unfold(x: Tensor, cut: Plan, tokens: int, reverse: bool) -> Tensor:
    """Undo `fold`: (L, B * S, ...) to (B, T, ...)."""
    batch = x.shape[1] // cut.runs
    x = x.reshape(cut.length, batch, cut.runs, *x.shape[2:]).movedim(0, 2)
    x = x.reshape(batch, cut.runs * cut.length, *x.shape[3:])[:, :tokens]
    return (x.flip(1) if reverse else x).contiguous()
