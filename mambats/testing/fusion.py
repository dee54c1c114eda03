"""The laws of fusion encoders, as one call that a third party's encoder can be put through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from mambats.protocols import Event, FusionEncoder
from mambats.series.state import flatten_state, map_state, restore_state
from mambats.testing.compare import agree, require
from mambats.testing.encoder import refuses
from mambats.testing.sensor_rows import Streams, draw_streams, every_tensor
from mambats.testing.sequence import agree_states, weigh


def check_fusion_encoder(
    build: Callable[[], FusionEncoder],
    *,
    seed: int = 0,
    batch: int = 3,
    rows: int = 7,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> None:
    """Put a fusion encoder through every law that holds for it.

    Args:
        build: Makes the encoder; its parameters are drawn after `torch.manual_seed(seed)`.
        seed: Of the parameters and of the windows.
        batch: Series in a batch, B.
        rows: Rows of the first stream; others have fewer.
        dtype: Of parameters and values: float64 holds the laws to 1e-10, float32 to 1e-5.
        device: Where to run.

    Raises:
        AssertionError: Naming the law that is broken.

    Example:
        check_fusion_encoder(lambda: EventFusion({"imu": 6, "gnss": 3}, width=8, layers=2, period_ns=10_000_000))
    """
    torch.manual_seed(seed)
    encoder = build().to(device=device, dtype=dtype).eval()
    given = draw_streams(seed, encoder.streams, batch=batch, rows=rows, dtype=dtype, device=device)
    last = list(encoder.streams)[-1]
    check_fusion_removed(encoder, given)
    check_fusion_missing(encoder, given)
    check_fusion_absent_values(encoder, given)
    check_fusion_lookahead(encoder, given)
    check_fusion_refusals(encoder, given)
    for window in (given, given.without(last)) if len(encoder.streams) > 1 else (given,):
        check_fusion_batch_order(encoder, window)
        check_fusion_repeatable(encoder, window)
        check_fusion_empty(encoder, window)
        if encoder.causal:
            length = window.length_ns
            check_fusion_chunks(encoder, window, [0, length // 3, length // 3 + 1, length * 2 // 3])
            check_fusion_steps(encoder, window)
            check_fusion_state(encoder, window)
            check_fusion_state_gradients(encoder, window)


def agree_tokens(law: str, given: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, slack: float = 1.0) -> None:
    """Demand the same tokens of the same streams.

    Raises:
        AssertionError: If they are not.
    """
    require(law, list(given) == list(expected), f"got streams {list(given)}, need {list(expected)}")
    for name, tokens in expected.items():
        agree(f"{law} ({name})", given[name], tokens, slack=slack)


def run_windows(encoder: FusionEncoder, given: Streams, cuts: Sequence[int]) -> tuple[dict[str, Tensor], Any]:
    """Run windows one after the other, cut at `cuts` ns; tokens as those of the whole window.

    Each row is in one window and masked in the others, where its token must be zero.
    """
    state, total = None, dict[str, Tensor]()
    for start, stop in zip([0, *cuts], [*cuts, given.length_ns], strict=True):
        tokens, state = given.between(start, stop).forward(encoder, state)
        total = {name: token + total.get(name, 0) for name, token in tokens.items()}
    return total, state


def check_fusion_chunks(encoder: FusionEncoder, given: Streams, cuts: Sequence[int]) -> None:
    """Demand that windows with carried state equal the whole; windows without rows and of no length too.

    Args:
        encoder: A causal fusion encoder.
        given: The whole window.
        cuts: Nanoseconds at which a new window starts, rising.

    Raises:
        AssertionError: If tokens or final states differ.
    """
    whole, final = given.forward(encoder)
    law = f"windows cut at {list(cuts)} == whole"
    tokens, state = run_windows(encoder, given, cuts)
    agree_tokens(law, tokens, whole)
    agree_states(law, state, final)
    tokens, _ = given.forward(encoder, encoder.init_state(given.batch))
    agree_tokens("forward from init_state == forward from no state", tokens, whole)
    _, waited = encoder({}, given.length_ns, state=final)
    _, parts = encoder({}, given.length_ns - 1, state=encoder({}, 1, state=final)[1])
    agree_states("a window without streams lets time pass", parts, waited)


def check_fusion_steps(encoder: FusionEncoder, given: Streams) -> None:
    """Demand that step moment by moment equals forward.

    Raises:
        AssertionError: If tokens or final states differ.
    """
    whole, final = given.forward(encoder)
    flat = {name: torch.zeros_like(tokens).flatten(0, 1) for name, tokens in whole.items()}
    state, now = encoder.init_state(given.batch), 0
    for stamp, fed in given.moments():
        elapsed = torch.full((given.batch,), stamp - now, device=next(iter(flat.values())).device)
        tokens, state = encoder.step({name: event for name, (event, _) in fed.items()}, elapsed, state=state)
        require("step answers for the streams given", list(tokens) == list(fed), f"got {list(tokens)}")
        for name, (_, place) in fed.items():
            there = place >= 0
            require("a step's token is zero where masked", not tokens[name][~there].any(), name)
            flat[name][place[there]] = tokens[name][there].detach()
        now = stamp
    rest = torch.full((given.batch,), given.length_ns - now, device=next(iter(flat.values())).device)
    _, state = encoder.step({}, rest, state=state)
    agree_tokens("steps == forward", {n: v.view(whole[n].shape) for n, v in flat.items()}, whole)
    agree_states("state after steps == state after forward", state, final)


def check_fusion_lookahead(encoder: FusionEncoder, given: Streams) -> None:
    """Demand that a token does not change when anything later in (stamp, stream order) changes.

    With a look-ahead of L seconds, anything later than L after its stamp. Every row of every stream is tried; values
    and masks of all that is later change.

    Raises:
        AssertionError: Naming the first row whose token saw the future.
    """
    if encoder.lookahead is None:
        return
    whole, _ = given.forward(encoder)
    other = draw_streams(
        977, {n: r.values.shape[2] for n, r in given.rows.items()}, batch=given.batch,
        rows=next(iter(given.rows.values())).mask.shape[1], length_ns=given.length_ns, kept=0.5,
        dtype=next(iter(given.rows.values())).values.dtype, device=next(iter(given.rows.values())).mask.device,
    )  # fmt: skip
    ahead = int(encoder.lookahead * 1e9)
    for stamp in sorted({int(v) for rows in given.rows.values() for v in rows.stamps[rows.mask]}):
        for number, (name, own) in enumerate(given.rows.items()):
            if not bool((own.mask & (own.stamps == stamp)).any()):
                continue
            changed, seen = dict(given.rows), dict[str, Tensor]()
            for place, (stream, rows) in enumerate(given.rows.items()):
                earlier = ahead > 0 or place <= number  # of equal stamps
                later = rows.stamps >= stamp + ahead + int(earlier)
                seen[stream] = rows.stamps < stamp + int(earlier)
                strange = other.rows[stream]
                values = torch.where(later.unsqueeze(2), 10 * strange.values + 3, rows.values)
                changed[stream] = replace(rows, values=values, mask=torch.where(later, strange.mask, rows.mask))
            tokens, _ = encoder(changed, given.length_ns)
            law = f"a row of {name} at {stamp} ns sees nothing later"
            for stream, rows in given.rows.items():
                up_to = seen[stream] & rows.mask
                agree(f"{law} ({stream})", tokens[stream][up_to], whole[stream][up_to])


def check_fusion_removed(encoder: FusionEncoder, given: Streams) -> None:
    """Demand that masked rows are as good as cut out, and that their tokens are zero.

    Raises:
        AssertionError: If a token or the state differs.
    """
    whole, state = given.forward(encoder)
    for name, rows in given.rows.items():
        require("tokens of masked rows are zero", not whole[name][~rows.mask].any(), name)
    for b in range(given.batch):
        alone = given.series(slice(b, b + 1))
        cut = alone.each(lambda rows: every_tensor(rows, lambda v, keep=rows.mask[0]: v[:, keep]))
        tokens, final = cut.forward(encoder)
        kept = {name: whole[name][b : b + 1, rows.mask[b]] for name, rows in given.rows.items()}
        agree_tokens("masked == removed", tokens, kept)
        if final is not None:
            agree_states("masked == removed", map_state(state, lambda v, b=b: v[b : b + 1]), final)


def check_fusion_missing(encoder: FusionEncoder, given: Streams) -> None:
    """Demand that a stream not given is as good as one with every row masked or with no rows, one after the other.

    Raises:
        AssertionError: If a token or the state differs.
    """
    for name in given.rows if len(given.rows) > 1 else ():
        others = given.without(name)
        expected, final = others.forward(encoder)
        dark = replace(given.rows[name], mask=torch.zeros_like(given.rows[name].mask))
        for rows in (dark, every_tensor(given.rows[name], lambda v: v[:, :0])):
            tokens, state = encoder({**given.rows, name: rows}, given.length_ns)
            tokens.pop(name)
            agree_tokens(f"{name} missing == masked", tokens, expected)
            if final is not None:
                agree_states(f"{name} missing == masked", state, final)


def check_fusion_absent_values(encoder: FusionEncoder, given: Streams) -> None:
    """Demand that values which were not observed reach neither tokens nor gradients, were they NaN.

    Raises:
        AssertionError: If they do.
    """
    expected, _ = given.forward(encoder)
    nan = float("nan")

    def spoil(rows: Any) -> Any:
        absent = ~rows.mask.unsqueeze(2) if rows.observed is None else ~(rows.mask.unsqueeze(2) & rows.observed)
        return replace(rows, values=rows.values.masked_fill(absent, nan), gaps=torch.full_like(rows.gaps, nan))

    tokens, _ = given.each(spoil).forward(encoder)
    agree_tokens("absent values are not read", tokens, expected)
    sum((weigh(token) for token in tokens.values()), torch.zeros(())).backward()
    finite = all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in encoder.parameters())
    encoder.zero_grad()
    require("absent values do not reach gradients", finite, "a gradient is not finite")


def check_fusion_batch_order(encoder: FusionEncoder, given: Streams) -> None:
    """Demand that series do not see each other: a permuted batch gives permuted tokens, one alone the same.

    Raises:
        AssertionError: If a token depends on its neighbours in the batch.
    """
    whole, final = given.forward(encoder)
    order = torch.arange(given.batch).flip(0)
    tokens, state = given.series(order).forward(encoder)
    agree_tokens("batch order does not matter", tokens, {n: v[order] for n, v in whole.items()})
    if final is not None:
        agree_states("batch order does not matter to the state", state, map_state(final, lambda v: v[order]))
    tokens, _ = given.series(slice(0, 1)).forward(encoder)
    agree_tokens("a series alone == in a batch", tokens, {n: v[:1] for n, v in whole.items()})


def check_fusion_state(encoder: FusionEncoder, given: Streams) -> None:
    """Demand that a state is a batch-first tree of tensors that survives a copy and a safetensors file.

    Raises:
        AssertionError: If it is not, or the run does not go on with the same numbers.
    """
    half = given.length_ns // 2
    rest = given.between(half, given.length_ns)
    _, state = given.between(0, half).forward(encoder)
    leaves, start = flatten_state(state), flatten_state(encoder.init_state(given.batch))
    for name, leaf in leaves.items():
        require("state is batch first", leaf.shape[:1] == (given.batch,), f"{name} has shape {tuple(leaf.shape)}")
    shapes = [{k: (tuple(v.shape), v.dtype) for k, v in tree.items()} for tree in (start, leaves)]
    require("init_state has the form of a carried state", shapes[0] == shapes[1], f"{shapes[0]} and {shapes[1]}")
    kept = map_state(state, torch.clone)
    expected, _ = rest.forward(encoder, state)
    for _, fed in rest.moments():
        one = torch.ones(given.batch, dtype=torch.int64, device=next(iter(leaves.values())).device)
        encoder.step({name: event for name, (event, _) in fed.items()}, one, state=state)
        break
    agree_states("a run leaves the state it was given alone", state, kept)
    file = save({name: leaf.detach().cpu().contiguous() for name, leaf in leaves.items()})
    loaded = {name: leaf.to(leaves[name].device) for name, leaf in load(file).items()}
    tokens, _ = rest.forward(encoder, restore_state(state, loaded))
    same = all(torch.equal(tokens[name], token) for name, token in expected.items())
    require("a run goes on bit-equal from a saved state", same, "tokens differ")


def check_fusion_state_gradients(encoder: FusionEncoder, given: Streams) -> None:
    """Demand that gradients pass through a carried state: in at its end, out at its start.

    Raises:
        AssertionError: If gradients of a run in two windows differ from those of the whole.
    """
    half = given.length_ns // 2

    def gradient(cuts: list[int]) -> list[Tensor]:
        values = {name: rows.values.detach().clone().requires_grad_() for name, rows in given.rows.items()}
        fresh = Streams({n: replace(r, values=values[n]) for n, r in given.rows.items()}, given.length_ns)
        tokens, state = run_windows(encoder, fresh, cuts)
        leaves = [leaf for leaf in flatten_state(state).values() if leaf.dtype.is_floating_point]
        # Only tokens of the second half and the final state count: the first half is reached through the state alone.
        late = [weigh(tokens[n] * (r.stamps > half).unsqueeze(2)) for n, r in given.rows.items()]
        loss = sum([*late, *(weigh(leaf) for leaf in leaves)], torch.zeros(()))
        measured = [v for v in values.values() if v.numel()]
        return [g.flatten() for g in torch.autograd.grad(loss, measured, allow_unused=True) if g is not None]

    # Gradients add up more roundings than outputs: ten times the tolerance.
    law = "gradients through the carried state == of the whole"
    agree(law, torch.cat(gradient([half])), torch.cat(gradient([])), slack=10)


def check_fusion_repeatable(encoder: FusionEncoder, given: Streams) -> None:
    """Demand that two runs are bit-equal, tokens and gradients, under deterministic algorithms.

    Raises:
        AssertionError: If a bit differs.
    """

    def once() -> list[Tensor]:
        encoder.zero_grad()
        tokens, _ = given.forward(encoder)
        sum((weigh(token) for token in tokens.values()), torch.zeros(())).backward()
        gradients = [p.grad.clone() for p in encoder.parameters() if p.grad is not None]
        return [*(token.detach() for token in tokens.values()), *gradients]

    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        same = all(torch.equal(a, b) for a, b in zip(once(), once(), strict=True))
    finally:
        torch.use_deterministic_algorithms(before)
        encoder.zero_grad()
    require("two runs are bit-equal", same, "a token or a gradient differs")


def check_fusion_empty(encoder: FusionEncoder, given: Streams) -> None:
    """Demand the right answer to streams without rows and to no series, and that one row is enough.

    Raises:
        AssertionError: If shapes are wrong or a token is not finite.
    """
    small = [given.each(lambda rows: every_tensor(rows, lambda v: v[:, :1])), given.series(slice(0, 0))]
    small.append(given.each(lambda rows: every_tensor(rows, lambda v: v[:, :0])))
    for none in small:
        tokens, _ = none.forward(encoder)
        for name, rows in none.rows.items():
            need = (*rows.mask.shape, encoder.width)
            require(
                "few rows, no rows, no series", tokens[name].shape == need, f"{name} has {tuple(tokens[name].shape)}"
            )
            require("few rows give numbers", bool(torch.isfinite(tokens[name]).all()), name)


def check_fusion_refusals(encoder: FusionEncoder, given: Streams) -> None:
    """Demand a ValueError for an unknown stream, wrong channels, falling stamps, and for what it cannot do.

    Raises:
        AssertionError: If something is taken.
    """
    name, rows = next(iter(given.rows.items()))
    wide = replace(rows, values=torch.cat([rows.values, rows.values[..., :1]], 2), observed=None)
    turned = replace(rows, stamps=rows.stamps.flip(1).sort(1, descending=True).values, mask=torch.ones_like(rows.mask))
    late = replace(rows, stamps=rows.stamps + given.length_ns + 1, mask=torch.ones_like(rows.mask))
    length = given.length_ns
    refuses("an unknown stream", lambda: encoder({**given.rows, "no such stream": rows}, length))
    refuses("wrong channels", lambda: encoder({name: wide}, length))
    refuses("a window of neither rows nor state", lambda: encoder({}, length))
    if rows.mask.device.type == "cpu":
        refuses("stamps that fall", lambda: encoder({name: turned}, length))
        refuses("stamps outside the window", lambda: encoder({name: late}, length))
    event = Event(rows.values[:, 0])
    second = torch.full((given.batch,), 10**9, device=rows.mask.device)
    if encoder.causal:
        state = encoder.init_state(given.batch)
        refuses("step of an unknown stream", lambda: encoder.step({"no such stream": event}, second, state=state))
        refuses("step with wrong channels", lambda: encoder.step({name: Event(wide.values[:, 0])}, second, state=state))
        refuses("a time in floats", lambda: encoder.step({name: event}, second.double(), state=state))
        if rows.mask.device.type == "cpu":
            refuses("time that runs backwards", lambda: encoder.step({name: event}, -second, state=state))
    else:
        _, state = given.forward(encoder)
        require("a non-causal encoder has no state", state is None, f"got {type(state).__name__}")
        refuses("a state", lambda: given.forward(encoder, (rows.values,)))
        refuses("step", lambda: encoder.step({name: event}, second, state=None))
