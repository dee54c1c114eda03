"""One scan over streams equals a scan of each stream, and a batch of packed sequences each sequence alone."""

import pytest
import torch

from mambats_kernels import multi_scan, selective_scan

LENGTHS = ((3, 0, 2), (5,), (0, 0), (1, 4))  # lengths of the sequences of each of four streams
TAILS = (2, 0, 1, 0)


def arguments(seed=0, width=4, size=3):
    g = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=g, dtype=torch.float64)

    tokens = [sum(lengths) + tail for lengths, tail in zip(LENGTHS, TAILS, strict=True)]
    borders = [torch.tensor([0, *lengths]).cumsum(0) for lengths in LENGTHS]
    n = sum(tokens)
    given = {
        "x": draw(1, n, width), "dt": draw(1, n, width), "A": -draw(width, size).exp(), "B": draw(1, n, size),
        "C": draw(1, n, size), "z": draw(1, n, width), "gaps": draw(1, n).abs(), "D": draw(width),
        "dt_bias": draw(len(LENGTHS), width),
    }  # fmt: skip
    states = [draw(len(lengths), width, size) for lengths in LENGTHS]
    return given, tokens, borders, states


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("hold", [False, True])
def test_equals_a_scan_a_stream(hold, reverse):
    given, tokens, borders, states = arguments()
    y, final = multi_scan(
        **given, tokens=tokens, cu_seqlens=borders, dt_softplus=True, hold=hold, initial_state=states, reverse=reverse
    )
    start = 0
    for k, length in enumerate(tokens):
        part = {
            n: v[:, start : start + length] if n in ("x", "dt", "B", "C", "z", "gaps") else v for n, v in given.items()
        }
        part["dt_bias"] = given["dt_bias"][k]
        expected, state = selective_scan(
            **part, cu_seqlens=borders[k], dt_softplus=True, hold=hold, initial_state=states[k], reverse=reverse
        )
        kept = int(borders[k][-1])
        torch.testing.assert_close(y[:, start : start + kept], expected[:, :kept], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(final[k], state, rtol=1e-12, atol=1e-12)
        start += length


def test_gradients():
    given, tokens, borders, states = arguments(width=2, size=2)
    names = list(given)
    kept = torch.cat([torch.arange(n) < b[-1] for n, b in zip(tokens, borders, strict=True)])

    def run(*tensors):
        inputs, starts = dict(zip(names, tensors[: len(names)], strict=True)), tensors[len(names) :]
        y, final = multi_scan(**inputs, tokens=tokens, cu_seqlens=borders, dt_softplus=True, initial_state=starts)
        return y[:, kept], *final

    tensors = [v.requires_grad_() for v in (*given.values(), *states)]
    tensors[names.index("A")] = given["A"].detach().requires_grad_()
    assert torch.autograd.gradcheck(run, tuple(tensors))


def test_one_bias_and_no_state():
    given, tokens, borders, _ = arguments()
    given["dt_bias"] = given["dt_bias"][0]
    y, final = multi_scan(**given, tokens=tokens, cu_seqlens=borders)
    again, same = multi_scan(
        **given, tokens=tokens, cu_seqlens=borders, initial_state=[torch.zeros_like(state) for state in final]
    )
    assert torch.equal(y, again) and all(torch.equal(a, b) for a, b in zip(final, same, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokens": [1, 2]}, "one of each"),
        ({"tokens": [1, 2, 3, 4]}, "add up to"),
        ({"initial_state": []}, "one a stream"),
        ({"dt_bias": torch.zeros(3, 4, dtype=torch.float64)}, "one row a stream"),
        ({"x": torch.zeros(4)}, "reshape"),
    ],
)
def test_refusals(change, message):
    given, tokens, borders, _ = arguments()
    with pytest.raises(ValueError, match=message):
        multi_scan(**{**given, "tokens": tokens, "cu_seqlens": borders, **change})
