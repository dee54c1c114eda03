"""Which windows make up a batch, in one process and in many.

Promise: the windows of global step s are the same set whatever the number of processes. Training steps are always
full: the last one of an epoch is filled up from the epoch's beginning, so ranks have equal shares and the mean of
their gradients is the gradient of the whole batch. Evaluation counts each window once: windows are spread evenly
over the steps, the shares of two ranks differ by one window at most, and every rank takes the same number of steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch.utils.data.distributed import DistributedSampler

from mambats.data.permutation import Permutation
from mambats.formats.error import DataError

Numbers = npt.NDArray[np.int64]

# The order is evaluated for about this many windows at a time: calls cost less than the gather, memory 64 kB.
AHEAD = 8192


@dataclass(frozen=True)
class Share:
    """Which of several processes this one is.

    Args:
        rank: 0 to world_size - 1.
        world_size: How many take part.
    """

    rank: int = 0
    world_size: int = 1


# Lightning leaves a DistributedSampler alone and replaces any other one, which would shuffle again by its own rule.
class WindowSampler(DistributedSampler[Numbers]):
    """Yield this process's share of every global batch as window numbers, shape (b,).

    Args:
        windows: How many windows there are.
        batch_size: Windows of one step over all processes.
        share: Which process this is.
        shuffle: Order anew in each epoch (training), or in order (evaluation).
        seed: Key of the order.
        drop_last: In training, leave out the last, incomplete step instead of filling it up.

    Raises:
        DataError: If there are too few windows for the processes, or a training batch does not divide evenly.
    """

    def __init__(
        self,
        windows: int,
        batch_size: int,
        share: Share | None = None,
        *,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        share = share or Share()
        super().__init__(range(windows), num_replicas=share.world_size, rank=share.rank, shuffle=shuffle, seed=seed)  # pyright: ignore[reportArgumentType]
        self.windows, self.batch_size, self.share, self.trimmed = windows, batch_size, share, drop_last
        if shuffle and batch_size % share.world_size:
            raise DataError(
                f"batch_size is {batch_size} over {share.world_size} processes: choose a multiple, "
                "so that each has an equal share of the gradient."
            )
        if not shuffle and windows < share.world_size:
            raise DataError(f"{windows} windows for {share.world_size} processes: use fewer processes or more data.")

    def __len__(self) -> int:
        """Return the number of steps, the same in every process."""
        if self.shuffle and self.trimmed:
            return max(1, self.windows // self.batch_size)
        if self.shuffle:
            return -(-self.windows // self.batch_size)
        # A short last step must still hold a window for each process.
        return min(-(-self.windows // self.batch_size), self.windows // self.share.world_size)

    def __iter__(self) -> Iterator[Numbers]:
        """Yield window numbers, one array a step."""
        return self._training() if self.shuffle else self._evaluation()

    def _training(self) -> Iterator[Numbers]:
        order = Permutation(self.windows, self.seed, self.epoch)
        block = max(1, AHEAD // self.batch_size)
        for first in range(0, len(self), block):
            steps = min(block, len(self) - first)
            positions = np.arange(first * self.batch_size, (first + steps) * self.batch_size) % self.windows
            numbers = order(positions).reshape(steps, self.batch_size)
            yield from numbers[:, self.share.rank :: self.share.world_size]

    def _evaluation(self) -> Iterator[Numbers]:
        for step in range(len(self)):
            first, last = step * self.windows // len(self), (step + 1) * self.windows // len(self)
            yield np.arange(first + self.share.rank, last, self.share.world_size)
