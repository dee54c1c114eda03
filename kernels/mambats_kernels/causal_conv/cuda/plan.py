"""What a launch of the convolution's kernels needs, prepared once for all calls that look alike."""

import ctypes
from collections.abc import Callable
from typing import NamedTuple

import torch

from mambats_kernels.causal_conv.cuda import tile
from mambats_kernels.causal_conv.cuda.tile import NAMES, Tile
from mambats_kernels.cuda import Source, load

_POINTERS = ("x", "weight", "bias", "initial", "borders", "y", "final", "dy", "dfinal", "partial")
_STRIDES = ("x_batch", "x_row", "dy_batch", "dy_row")
_COUNTS = ("tokens", "width", "sequences", "runs", "runs_of_row", "columns", "early", "tiles")
_SUM_THREADS = 512
_FOLDER = "causal_conv/cuda"


class Arguments(ctypes.Structure):
    """`Arguments` of line.cuh."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _POINTERS),
        *((name, ctypes.c_int64) for name in _STRIDES),
        *((name, ctypes.c_int32) for name in _COUNTS),
    )


class SumArguments(ctypes.Structure):
    """`Arguments` of sum.cu."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("partial", "dweight", "dbias")),
        ("shares", ctypes.c_int32),
        ("width", ctypes.c_int32),
    )


class Call(NamedTuple):
    """What tells one kind of call from another.

    Attributes:
        shape: (B, T, D) of x.
        strides: Of x and dy along batch and tokens, in elements; dy's are 0 in the forward pass.
        types: Of x, of weight and bias, of cu_seqlens or None.
        taps: W.
        sequences: Rows of the states: B, or n if packed.
        alignment: Addresses of x, the states and dy, or-ed; only the lowest four bits count.
        aligned: Whether weight starts at a multiple of 16 bytes.
        given: Which of bias, initial_state and the final state's gradient there are.
        silu: Whether SiLU follows.
        reverse: Whether time runs backwards.
        device: Index.
    """

    shape: tuple[int, ...]
    strides: tuple[int, int, int, int]
    types: tuple[torch.dtype, torch.dtype, torch.dtype | None]
    taps: int
    sequences: int
    alignment: int
    aligned: bool
    given: tuple[bool, bool, bool]
    silu: bool
    reverse: bool
    device: int


class Plan(NamedTuple):
    """A prepared launch.

    Attributes:
        launch: Takes the arguments and a raw stream.
        template: Arguments without pointers, to be copied.
        shares: How many partial sums of dweight and dbias there are (backward).
        sum: Adds them up (backward).
        sum_template: Its arguments without pointers.
    """

    launch: Callable[[ctypes.Structure, int], None]
    template: Arguments
    shares: int = 0
    sum: Callable[[ctypes.Structure, int], None] | None = None
    sum_template: SumArguments | None = None


def _cut(call: Call, shape: Tile) -> tuple[int, int]:
    """Give channels a thread and threads side by side."""
    size, width = call.types[0].itemsize, call.shape[2]
    bits = call.alignment
    for stride in call.strides:
        bits |= stride * size
    together = tile.channels_together(shape, call.taps, size, width, bits & 15 or 16)
    return together, tile.lanes_together(width // together)


def _defines(call: Call, shape: Tile, together: int, lanes: int) -> tuple[tuple[str, int | str], ...]:
    x, weight, borders = call.types
    bias, initial, dfinal = (int(there) for there in call.given)
    filters = together * call.taps * weight.itemsize
    return (
        ("INPUT", NAMES[x]), ("WEIGHT", NAMES[weight]), ("BORDER", tile.BORDERS[borders]), ("VECTOR", together),
        ("RAW", tile.raw(together * x.itemsize)), ("RUN", shape.run), ("LANES", lanes), ("THREADS", shape.threads),
        ("RESIDENT", shape.resident), ("TAPS", call.taps), ("ALIGNED", int(call.aligned and filters % 16 == 0)),
        ("SILU", int(call.silu)), ("BIAS", bias), ("INITIAL", initial), ("DFINAL", dfinal),
        ("PACKED", int(borders is not None)), ("REVERSE", int(call.reverse)),
    )  # fmt: skip


def _template(call: Call, taken: int, together: int, lanes: int) -> Arguments:
    """Fill in what is known before any pointer; a thread takes `taken` tokens of a row at a time."""
    batch, tokens, width = call.shape
    made = Arguments(tokens=tokens, width=width, sequences=call.sequences)
    made.x_batch, made.x_row, made.dy_batch, made.dy_row = call.strides
    made.runs_of_row = -(-tokens // taken)
    made.runs = batch * made.runs_of_row
    made.columns = -(-(width // together) // lanes)
    return made


def plan_forward(call: Call, shape: Tile = tile.FORWARD) -> Plan:
    """Prepare the forward launch."""
    together, lanes = _cut(call, shape)
    made = _template(call, shape.run, together, lanes)
    states = call.sequences * (call.taps - 1) * (call.shape[2] // together)
    made.early = -(-states // shape.threads)
    blocks = made.columns * -(-made.runs // (shape.threads // lanes)) + made.early
    files = ("cuda/device.cuh", f"{_FOLDER}/line.cuh", f"{_FOLDER}/forward.cu")
    kernel = load(Source(files, _defines(call, shape, together, lanes), "conv_forward"), call.device)
    return Plan(kernel.launcher((blocks, 1, 1), shape.threads), made)


def plan_backward(call: Call, shape: Tile = tile.BACKWARD) -> Plan:
    """Prepare both launches of the backward pass: threads take several runs each, so few sums are left to add."""
    together, lanes = _cut(call, shape)
    (batch, tokens, width), slots = call.shape, shape.threads // lanes
    columns = -(-(width // together) // lanes)
    wanted = max(1, _processors(call.device) * shape.waves // columns)  # shares, for enough blocks in all
    if shape.walk:
        segment = -(-tokens // max(1, wanted * slots // batch))
        segment = max(2, -(-segment // shape.run)) * shape.run
        made = _template(call, segment, together, lanes)
        made.tiles, shares = segment, -(-made.runs // slots)
    else:
        made = _template(call, shape.run, together, lanes)
        tiles = -(-made.runs // slots)
        made.tiles = -(-tiles // wanted)
        shares = -(-tiles // made.tiles)
    if call.given[1]:
        made.early = -(-call.sequences * (width // together) // shape.threads)
    blocks, shared = columns * shares + made.early, 4 * shape.threads * together
    files = ("line.cuh", "slope.cuh", "walk.cu" if shape.walk else "backward.cu")
    source = ("cuda/device.cuh", *(f"{_FOLDER}/{file}" for file in files))
    kernel = load(Source(source, _defines(call, shape, together, lanes), "conv_backward"), call.device, shared)
    return Plan(kernel.launcher((blocks, 1, 1), shape.threads), made, shares, *_plan_sum(call, shares))


def _plan_sum(call: Call, shares: int) -> tuple[Callable[[ctypes.Structure, int], None], SumArguments]:
    width, bias = call.shape[2], int(call.given[0])
    defines = (("WEIGHT", NAMES[call.types[1]]), ("TAPS", call.taps), ("BIAS", bias), ("THREADS", _SUM_THREADS))
    source = Source(("cuda/device.cuh", f"{_FOLDER}/sum.cu"), defines, "conv_sum")
    blocks = -(-width // 32) * (call.taps + bias)
    launch = load(source, call.device, 4 * _SUM_THREADS).launcher((blocks, 1, 1), _SUM_THREADS)
    return launch, SumArguments(shares=shares, width=width)


def _processors(device: int) -> int:
    """Multiprocessors of a device; where there is none (the emulator), a few."""
    return torch.cuda.get_device_properties(device).multi_processor_count if torch.cuda.is_available() else 4
