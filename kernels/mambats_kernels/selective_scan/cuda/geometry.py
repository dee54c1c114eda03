"""How a scan is laid over a GPU: blocks, time chunks, launches, and the memory that each kernel needs."""

from typing import NamedTuple

TILE, CHANNELS, THREADS, LINES = 16, 32, 128, 12
ROOM = 32 * 2**20  # bytes that are not worth saving


class Shape(NamedTuple):
    """Sizes of one call.

    Attributes:
        rows: B.
        tokens: T.
        width: D.
        groups: G.
        states: N.
        bytes: Of an element of x.
        sequences: Packed ones that are walked as rows of their own (`rows.py`), 0 where rows of the batch are walked.
    """

    rows: int
    tokens: int
    width: int
    groups: int
    states: int
    bytes: int
    sequences: int = 0

    @property
    def mean(self) -> int:
        """Tokens of a row that is walked: of packed sequences the mean, as nobody knows more before the GPU does."""
        return -(-self.tokens // self.sequences) if self.sequences else self.tokens

    @property
    def padded(self) -> int:
        """N rounded up to 16."""
        return -(-self.states // 16) * 16

    @property
    def blocks(self) -> int:
        """Blocks of 32 channels in one group."""
        return -(-(self.width // self.groups) // CHANNELS)

    @property
    def kept(self) -> int:
        """Bytes of a state that waits for the backward pass, and of a partial sum: 16 bits at a time are packed."""
        return 4 if self.bytes == 4 else 2

    @property
    def sparse(self) -> bool:
        """Whether of four states at the starts of tiles only three are saved, where they take more than 32 MiB.

        The fourth costs one more walk over a tile. With more than 16 states there is no room for it.
        """
        room = self.rows * -(-self.tokens // TILE) * self.width * self.padded * self.kept
        return self.padded == 16 and self.mean > 128 and room > ROOM

    @property
    def saved_tiles(self) -> int:
        """Saved states of a row; of all sequences that are rows of their own, wherever they begin and end."""
        if self.sequences:
            return (self.tokens // 64 + self.sequences) * 3 if self.sparse else self.tokens // TILE + self.sequences
        tiles = -(-self.tokens // TILE)
        return tiles // 4 * 3 + min(tiles % 4, 3) if self.sparse else tiles

    @property
    def saved(self) -> int:
        """Floats of room for all saved states."""
        return self.rows * self.saved_tiles * self.width * self.padded * self.kept // 4

    @property
    def partial(self) -> int:
        """Floats of room for the partial sums of dB and dC of one token."""
        return self.rows * self.groups * self.blocks * 2 * self.padded * self.kept // 4

    @property
    def row(self) -> int:
        """Bytes of a tile's row of channels in shared memory, padded by 16."""
        return CHANNELS * self.bytes + 16


class Cut(NamedTuple):
    """Time cut into `chunks` chunks of `length` tokens, of which `each` are worked on by one launch."""

    length: int
    chunks: int
    each: int

    @property
    def offsets(self) -> list[int]:
        """First chunk of each launch, the last one first."""
        return list(range(0, self.chunks, self.each))[::-1]


# Blocks a processor below which time is cut, and for how many. Forward: (4, 8192, 1536), with 1.45, is fastest whole.
# Backward the sweep is three times as long, so that cutting pays earlier; whole waves of three count. See NOTES.md.
FORWARD_FILL = (1.25, 8.0)
BACKWARD_FILL = (2.5, 2.95)


def cut(shape: Shape, least: float, target: float, processors: int, launches: int = 1) -> Cut:
    """Cut time so that the GPU is full.

    Args:
        shape: Of the call.
        least: Blocks a processor from which on time is not cut: every cut costs a second sweep over the inputs.
        target: Blocks a processor to cut for.
        processors: Of the GPU.
        launches: To be made one after the other; each shall fill the GPU.
    """
    blocks = shape.rows * shape.groups * shape.blocks
    side = 1
    if blocks < least * processors and shape.tokens >= 512:
        side = max(1, min(round(target * processors / blocks), shape.tokens // (128 * launches), 65535 // launches))
    length = -(-shape.tokens // (side * launches * 64)) * 64
    return Cut(length, -(-shape.tokens // length), side)


def launches(shape: Shape) -> int:
    """Parts in which the backward pass goes over time, so that partial sums of dB and dC take a quarter of x's room.

    At (8, 2048, 1536, 16) they would take as much as x.
    """
    partial = shape.partial * shape.tokens * 4
    room = shape.rows * shape.tokens * shape.width * shape.bytes // 4
    return 1 if shape.blocks == 1 or partial <= ROOM or shape.tokens < 512 else min(4, -(-partial // room))


def forward_tile(shape: Shape, blocks: float) -> int:
    """Tokens in shared memory together in the forward pass, with so many blocks a processor.

    With 32, three blocks fit: 7 % faster than 16 where no more than three are there (0.217 against 0.229 ms at
    (8, 2048, 1536, 16) on an H100), 15 % slower where more are (0.090 against 0.076 at (64, 512, 256, 16)).
    """
    return 32 if shape.bytes == 2 and shape.padded <= 32 and shape.mean > TILE and blocks <= 3 else TILE


def forward_occupancy(shape: Shape, tile: int) -> int:
    """Blocks that shall share a processor in the forward pass."""
    if tile == 32:
        return 3
    return 4 if shape.padded <= 32 else 3 if shape.padded <= 64 else 1


def backward_occupancy(shape: Shape, blocks: float) -> int:
    """The same in the backward pass, of so many a processor.

    168 registers are fastest where 3 blocks are all there is or rows are short; else 128 and a fourth.
    """
    if shape.padded == 16:
        return 4 if blocks > 3 and shape.mean > 128 else 3
    return 3 if shape.padded <= 64 else 1


def forward_shared(shape: Shape, tile: int, ends: bool) -> int:
    """Bytes of shared memory of scan_forward with tiles of `tile` tokens; `ends`: of its first phase."""
    raw = (2 if ends else 3) * 4 * tile * shape.row
    states = (1 if ends else 2) * 2 * tile * shape.padded * (shape.bytes + 4)
    return LINES * 16 + raw + states + 2 * tile * CHANNELS * 8 + 4 * tile * 4 + 4 * tile


def backward_shared(shape: Shape, exact: bool) -> int:
    """Bytes of shared memory of scan_backward."""
    passes = shape.padded // 16
    raw = 2 * 4 * TILE * shape.row + 2 * 2 * TILE * shape.padded * shape.bytes
    converted = TILE * (CHANNELS + 4) * 16 + (0 if exact else 2 * TILE * shape.padded * 4)
    parts = (4 if exact else 8) * TILE * 32 * 4
    first = (4 if shape.sparse else 2) * THREADS * 16 if passes == 1 else 0
    kept = 2 * passes * THREADS * 16 if passes > 1 else 0
    return LINES * 16 + 32 + raw + converted + parts + first + kept + 6 * TILE * 4 + 2 * TILE


def carry_shared(shape: Shape) -> int:
    """Bytes of shared memory of scan_carry."""
    raw = 2 * 3 * TILE * shape.row + 2 * TILE * shape.padded * shape.bytes
    return LINES * 16 + raw + TILE * CHANNELS * 8 + TILE * shape.padded * 4 + 2 * TILE * 4 + 2 * TILE
