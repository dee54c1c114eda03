"""Numbers at asked moments from streams with clocks of their own: what a fusion encoder is asked directly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from mambats.protocols import BlockFusion, FusionEncoder, State
from mambats.scale import Scaler
from mambats.series import SensorRows


class StreamRegressor(nn.Module):
    """Answer numbers at any moments from the rows of all streams up to them, or up to a look-ahead behind them.

    Args:
        encoder: Reads the streams, and asks with one of no channels. Causal, or with a look-ahead of L seconds: answers
            then wait for L at most, on a robot too.
        targets: Names of the numbers.
        ask: The stream that asks.
        hidden: Width of the answering network's hidden layer.

    Raises:
        ValueError: If the encoder reads ahead without end, has no such stream, or there is no target.

    Example:
        encoder = StreamFusion({"imu": 6, "ask": 0}, 32, 1, period_ns=10_000_000)
        model = StreamRegressor(encoder, ["v", "w"])
        answers = model.estimate(model(window.streams, window.truth["motion"], window.length_ns))
    """

    def __init__(self, encoder: FusionEncoder, targets: Sequence[str], ask: str = "ask", hidden: int = 64) -> None:
        super().__init__()
        if encoder.lookahead is None:
            raise ValueError(
                "the encoder reads ahead to the end of the window: an answer would wait for ever. Give it a lookahead "
                "in seconds, or take a causal one."
            )
        if encoder.streams.get(ask) != 0:
            raise ValueError(f"the encoder reads {dict(encoder.streams)}: need {ask!r} among them, with 0 channels.")
        if not targets or hidden < 1:
            raise ValueError(f"targets are {list(targets)} and hidden is {hidden}: need one target and 1 at least.")
        self.encoder, self.targets, self.ask, self.hidden = encoder, tuple(targets), ask, hidden
        self.head = nn.Sequential(nn.Linear(encoder.width, hidden), nn.SiLU(), nn.Linear(hidden, len(self.targets)))
        self.scaler = Scaler(self.targets)

    def forward(self, streams: Mapping[str, SensorRows], asked: SensorRows, length_ns: int) -> Tensor:
        """Return answers (B, T, k) in scaled units at the stamps (B, T) of `asked`; its values are not read.

        Args:
            streams: Rows by stream; those that the encoder does not know are an error, any may be left out.
            asked: When to answer.
            length_ns: Of the windows.
        """
        tokens, _ = self.encoder(self._rows(streams, asked), length_ns)
        return self.head(tokens[self.ask])

    @property
    def lag(self) -> float:
        """Seconds that an answer waits at most: the encoder's look-ahead, 0 of a causal one."""
        return self.encoder.lookahead or 0.0

    def init_state(self, batch: int) -> State:
        """Return the state of `carry` before any row."""
        return self.encoder.init_state(batch) if self.encoder.causal else self._blocks().init_blocks(batch)

    def carry(
        self, streams: Mapping[str, SensorRows], asked: SensorRows, length_ns: int, state: State
    ) -> tuple[Tensor, State]:
        """Answer as `forward` in a window behind others; of an encoder with a look-ahead a window is whole blocks.

        Returns:
            Answers (B, T, k) in scaled units, and the state at the window's end.

        Raises:
            ValueError: If the encoder reads ahead and cannot run block by block.
        """
        rows = self._rows(streams, asked)
        if self.encoder.causal:
            tokens, state = self.encoder(rows, length_ns, state=state)
        else:
            tokens, state = self._blocks().run_blocks(rows, length_ns, state)
        return self.head(tokens[self.ask]), state

    def _rows(self, streams: Mapping[str, SensorRows], asked: SensorRows) -> dict[str, SensorRows]:
        """Return the streams and the question among them, of which only the stamps are read."""
        return {**streams, self.ask: replace(asked, values=asked.values[..., :0], observed=None, counts=None)}

    def _blocks(self) -> BlockFusion:
        if not isinstance(self.encoder, BlockFusion):
            raise ValueError(
                f"{type(self.encoder).__name__} reads ahead and has no run_blocks: take BidirectionalEventFusion or "
                "BidirectionalStreamFusion to run online."
            )
        return self.encoder

    def estimate(self, answer: Tensor) -> Tensor:
        """Return answers (..., k) in the targets' units."""
        return self.scaler.inverse(answer)

    def scale(self, truth: Tensor) -> None:
        """Take mean and deviation of each target from rows (n, k) of truth.

        Raises:
            ValueError: If there is no row, or another number of columns.
        """
        if truth.ndim != 2 or not len(truth) or truth.shape[1] != len(self.targets):
            raise ValueError(
                f"truth has shape {tuple(truth.shape)}: need (n, {len(self.targets)}) for {list(self.targets)}, n >= 1."
            )
        fitted = Scaler.fit(truth.T.double().cpu().numpy(), channels=self.targets)
        self.scaler.mean.copy_(fitted.mean)
        self.scaler.scale.copy_(fitted.scale)
