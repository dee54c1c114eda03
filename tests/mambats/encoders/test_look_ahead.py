"""Encoders that look ahead, block after block with carried state: the numbers of one pass over everything."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from mambats.encoders import BidirectionalEncoder, BidirectionalEventFusion, BidirectionalStreamFusion, NotCausalError
from mambats.encoders.fusion.exchange import CrossScanSettings
from mambats.mixers import MIXERS, MambaSettings
from mambats.protocols import BlockFusion
from mambats.testing.sensor_rows import draw_streams

SMALL = MambaSettings(state_size=4)
STREAMS = {"imu": 3, "gnss": 2, "ask": 0}
BLOCK = 70


@pytest.mark.parametrize("mixer", ["mamba", "mamba_hold"])
@pytest.mark.parametrize("tied", [False, True])
@torch.no_grad()
def test_blocks_of_rows_equal_the_whole(mixer, tied):
    torch.manual_seed(0)
    encoder = BidirectionalEncoder(2, 8, 2, mixer=MIXERS[mixer], tied=tied, lookahead=3).double().eval()
    x, gaps = torch.randn(2, 11, 2, dtype=torch.float64), 3 * torch.rand(2, 11, dtype=torch.float64)
    observed = torch.rand(2, 11, 2) < 0.8
    whole, none = encoder(x, gaps, observed=observed)
    assert none is None
    for cuts in ([0, 11], [0, 3, 6, 9, 11], [0, 6, 11], [0, 9, 11]):
        state, found = encoder.init_blocks(2), []
        for begin, end in pairwise(cuts):
            part = slice(begin, end)
            y, state = encoder.run_blocks(x[:, part], gaps[:, part], observed=observed[:, part], state=state)
            found.append(y)
        torch.testing.assert_close(torch.cat(found, 1), whole, rtol=1e-10, atol=1e-10)


FUSIONS = {
    "event": lambda ahead: BidirectionalEventFusion(STREAMS, 8, 2, period_ns=10, mixer=SMALL, lookahead=ahead),
    "stream": lambda ahead: BidirectionalStreamFusion(STREAMS, 8, 2, period_ns=10, mixer=SMALL, lookahead=ahead),
    "cross": lambda ahead: BidirectionalStreamFusion(
        STREAMS, 8, 2, period_ns=10, mixer=SMALL, lookahead=ahead, exchange=CrossScanSettings(state_size=3)
    ),
}


def between(rows, start, stop):
    inside = (rows.stamps > start) & (rows.stamps <= stop) | ((rows.stamps == 0) & (start == 0))
    mask = rows.mask & inside
    return replace(rows, mask=mask, stamps=torch.where(mask, rows.stamps - start, 0))


@pytest.mark.parametrize("kind", FUSIONS)
@torch.no_grad()
def test_blocks_of_time_equal_the_whole(kind):
    torch.manual_seed(0)
    encoder = FUSIONS[kind](BLOCK * 1e-9).double().eval()
    assert isinstance(encoder, BlockFusion)
    given = draw_streams(1, STREAMS, batch=3, rows=24, length_ns=5 * BLOCK + 20, dtype=torch.float64)
    whole, _ = encoder(given.rows, given.length_ns)
    for cuts in ([BLOCK, 2 * BLOCK, 3 * BLOCK, 4 * BLOCK, 5 * BLOCK], [2 * BLOCK, 3 * BLOCK], [5 * BLOCK], []):
        state, found, start = encoder.init_blocks(3), {name: 0 for name in STREAMS}, 0
        for stop in [*cuts, given.length_ns]:
            rows = {name: between(part, start, stop) for name, part in given.rows.items()}
            tokens, state = encoder.run_blocks(rows, stop - start, state)
            found = {name: found[name] + token for name, token in tokens.items()}
            start = stop
        for name, tokens in whole.items():
            torch.testing.assert_close(found[name], tokens, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", FUSIONS)
def test_a_look_ahead_without_end_has_no_blocks(kind):
    encoder = FUSIONS[kind](None)
    with pytest.raises(NotCausalError, match="the whole window both ways and has no blocks"):
        encoder.init_blocks(1)
    with pytest.raises(NotCausalError):
        encoder.run_blocks({}, 10, None)
    rows = BidirectionalEncoder(2, 8, 1, mixer=SMALL)
    with pytest.raises(NotCausalError, match="whole sequence both ways and has no blocks"):
        rows.init_blocks(1)
    with pytest.raises(NotCausalError):
        rows.run_blocks(torch.zeros(1, 2, 2), state=None)
