"""How a scan is laid over a GPU: blocks, time chunks, clusters, and the memory that each kernel needs."""

from typing import NamedTuple

TILE, CHANNELS, THREADS = 16, 32, 128
CLUSTER = 8  # the most that every GPU with clusters takes


class Shape(NamedTuple):
    """Sizes of one call.

    Attributes:
        rows: B.
        tokens: T.
        width: D.
        groups: G.
        states: N.
        bytes: Of an element of x.
    """

    rows: int
    tokens: int
    width: int
    groups: int
    states: int
    bytes: int

    @property
    def padded(self) -> int:
        """N rounded up to 16."""
        return -(-self.states // 16) * 16

    @property
    def blocks(self) -> int:
        """Blocks of 32 channels in one group."""
        return -(-(self.width // self.groups) // CHANNELS)

    @property
    def segment(self) -> int:
        """Tokens between saved states.

        At 16 states one in 64 is kept: a quarter of the room, for one more walk over 3 of 4 tiles. With more passes
        over the states the tiles' first states would crowd shared memory, so all are kept.
        """
        return 64 if self.padded == 16 else TILE

    @property
    def segments(self) -> int:
        """Saved states of a row."""
        return -(-self.tokens // self.segment)

    @property
    def row(self) -> int:
        """Bytes of a tile's row of channels in shared memory, padded by 16."""
        return CHANNELS * self.bytes + 16


def cluster(blocks: int, capability: tuple[int, int]) -> int:
    """Blocks that sum dB and dC together: the largest divisor of a group's blocks up to 8; 1 before Hopper."""
    if capability < (9, 0):
        return 1
    return max(size for size in range(1, CLUSTER + 1) if blocks % size == 0)


def chunks(shape: Shape, least: float, target: float, processors: int) -> tuple[int, int]:
    """Cut time so that the GPU is full: (tokens of a chunk, chunks).

    Args:
        shape: Of the call.
        least: Blocks a processor from which on time is not cut: every cut costs a second sweep over the inputs.
        target: Blocks a processor to cut for.
        processors: Of the GPU.
    """
    blocks = shape.rows * shape.groups * shape.blocks
    if blocks >= least * processors or shape.tokens < 512:
        return -(-shape.tokens // 64) * 64, 1
    wanted = min(round(target * processors / blocks), shape.tokens // 128, 65535)
    length = -(-shape.tokens // (max(wanted, 1) * 64)) * 64
    return length, -(-shape.tokens // length)


def forward_shared(shape: Shape, ends: bool) -> int:
    """Bytes of shared memory of scan_forward; `ends`: of its first phase."""
    raw = (2 if ends else 3) * 4 * TILE * shape.row
    states = (1 if ends else 2) * 2 * TILE * shape.padded * (shape.bytes + 4)
    return raw + states + 2 * TILE * CHANNELS * 8 + 4 * TILE * 4 + 4 * TILE


def backward_shared(shape: Shape, size: int, exact: bool) -> int:
    """Bytes of shared memory of scan_backward in clusters of `size`."""
    passes, tiles = shape.padded // 16, shape.segment // TILE
    raw = 2 * 4 * TILE * shape.row + 2 * 2 * TILE * shape.padded * shape.bytes
    converted = TILE * (CHANNELS + 4) * 16 + 2 * TILE * shape.padded * 4
    parts = (4 if exact else 8) * TILE * 32 * 4
    first = (tiles + 1) * THREADS * 16 if tiles > 1 else 0
    kept = 3 * passes * THREADS * 16 if passes > 1 else 0
    inbox = 2 * size * -(-THREADS // size) * 16 if size > 1 else 0
    return raw + converted + parts + first + kept + inbox + 6 * TILE * 4 + 2 * TILE


def carry_shared(shape: Shape) -> int:
    """Bytes of shared memory of scan_carry."""
    raw = 2 * 3 * TILE * shape.row + 2 * TILE * shape.padded * shape.bytes
    return raw + TILE * CHANNELS * 8 + TILE * shape.padded * 4 + 2 * TILE * 4 + 2 * TILE
