"""What is refused, in words that say what was given, what was needed and what to do."""

import pytest
import torch

from mambats_kernels import causal_conv, causal_conv_step, selective_scan, selective_step
from mambats_kernels.causal_conv import cases as conv_cases
from mambats_kernels.selective_scan import cases as scan_cases

CPU = torch.device("cpu")
NAN = torch.full((2, 13, 6), torch.nan)

SCAN = {
    "dt_short": ({"dt": torch.zeros(2, 12, 6)}, r"dt has shape \(2, 12, 6\), needed .* = \(2, 13, 6\)"),
    "x_flat": ({"x": torch.zeros(13, 6)}, r"x has shape \(13, 6\), needed \(B, T, D\)"),
    "z": ({"z": torch.zeros(2, 13, 5)}, "z has shape"),
    "gaps": ({"gaps": torch.ones(2, 13, 6)}, r"gaps has shape \(2, 13, 6\), needed \(B, T\) of x"),
    "a": ({"A": -torch.ones(5, 3)}, r"A has shape \(5, 3\), needed \(D, N\) with D = 6"),
    "b": ({"B": torch.zeros(2, 13, 4)}, r"B has shape \(2, 13, 4\), needed \(B, T, N\) or \(B, T, G, N\)"),
    "groups": ({"B": torch.zeros(2, 13, 4, 3)}, "G = 4 groups, needed G that divides D = 6"),
    "c_other_groups": ({"C": torch.zeros(2, 13, 2, 3)}, "needed the shape of B"),
    "bias": ({"dt_bias": torch.zeros(1)}, "dt_bias has shape"),
    "skip": ({"D": torch.zeros(6, 1)}, "D has shape"),
    "state": ({"initial_state": torch.zeros(1, 6, 3)}, r"initial_state has shape .* needed \(B, D, N\) = \(2, 6, 3\)"),
    "integer": ({"x": torch.zeros(2, 13, 6, dtype=torch.int64)}, r"x is int64, needed float64.*cast it"),
    "device": ({"dt": torch.zeros(2, 13, 6, device="meta")}, "dt is on meta, x on cpu: move dt"),
    "packed_rows": ({"cu_seqlens": torch.tensor([0, 13])}, r"packed sequences need \(1, T, D\)"),
    "nan": ({"x": NAN}, r"x holds 156 NaN, the first at \(0, 0, 0\).*mask"),
    "negative_gap": ({"gaps": -torch.ones(2, 13)}, r"gaps is -1.0 at \(0, 0\), needed .* >= 0: sort"),
    "nan_gap": ({"gaps": torch.full((2, 13), torch.nan)}, "gaps is nan"),
}
BORDERS = {
    "falling": (torch.tensor([0, 5, 3, 9]), r"cu_seqlens is \[0, 5, 3, 9\], needed borders"),
    "beyond": (torch.tensor([0, 14]), "at or before T = 13"),
    "late": (torch.tensor([1, 13]), "start at 0"),
    "floats": (torch.tensor([0.0, 13.0]), "cu_seqlens is float32"),
    "scalar": (torch.tensor(13), r"of shape \(n\+1,\)"),
}
CONV = {
    "weight": ({"weight": torch.zeros(5, 1, 4)}, r"weight has shape \(5, 1, 4\).*squeeze"),
    "bias": ({"bias": torch.zeros(4)}, "bias has shape"),
    "state": ({"initial_state": torch.zeros(2, 4, 5)}, r"needed \(B, W-1, D\) = \(2, 3, 5\)"),
    "activation": ({"activation": "relu"}, "activation is 'relu', needed 'silu' or None"),
    "nan": ({"x": torch.full((2, 13, 5), torch.nan)}, "x holds 130 NaN"),
    "flat": ({"x": torch.zeros(13, 5)}, r"x has shape \(13, 5\)"),
}


@pytest.mark.parametrize(("changed", "message"), SCAN.values(), ids=SCAN)
def test_scan_refuses(changed, message):
    with pytest.raises(ValueError, match=message):
        selective_scan(**{**scan_cases.arguments(0, torch.float32, CPU), **changed})


@pytest.mark.parametrize(("borders", "message"), BORDERS.values(), ids=BORDERS)
def test_both_refuse_wrong_borders(borders, message):
    for module, operation in ((scan_cases, selective_scan), (conv_cases, causal_conv)):
        arguments = module.arguments(0, torch.float32, CPU, shape=(1, 13, 4, 3), plain=True)
        with pytest.raises(ValueError, match=message):
            operation(**{**arguments, "cu_seqlens": borders})


@pytest.mark.parametrize(("changed", "message"), CONV.values(), ids=CONV)
def test_conv_refuses(changed, message):
    with pytest.raises(ValueError, match=message):
        causal_conv(**{**conv_cases.arguments(0, torch.float32, CPU), **changed})


STEP = {
    "state": ({"state": torch.zeros(1, 4, 3)}, r"state has shape \(1, 4, 3\), needed \(B, D, N\) = \(2, 4, 3\)"),
    "mask": ({"mask": torch.ones(2)}, r"mask is float32 of shape \(2,\), needed bool"),
    "gap": ({"gap_t": torch.ones(2, 1)}, "gap_t has shape"),
    "token_axis": ({"x_t": torch.zeros(2, 1, 4)}, r"x_t has shape \(2, 1, 4\), needed \(B, D\)"),
}


@pytest.mark.parametrize(("changed", "message"), STEP.values(), ids=STEP)
def test_step_refuses(changed, message):
    x, b = torch.zeros(2, 4), torch.zeros(2, 3)
    given = {"x_t": x, "dt_t": x, "A": -torch.ones(4, 3), "B_t": b, "C_t": b, "state": torch.zeros(2, 4, 3)}
    with pytest.raises(ValueError, match=message):
        selective_step(**{**given, **changed})


def test_conv_step_refuses():
    with pytest.raises(ValueError, match=r"state has shape .* needed \(B, W-1, D\) = \(2, 2, 4\)"):
        causal_conv_step(torch.zeros(2, 4), torch.zeros(4, 3), state=torch.zeros(2, 3, 4))


def test_infinities_are_numbers():
    arguments = scan_cases.arguments(0, torch.float32, CPU, plain=True)
    x = arguments["x"].clone()
    x[0, 0, 0], x[0, 0, 1] = torch.inf, -torch.inf
    selective_scan(**{**arguments, "x": x})
