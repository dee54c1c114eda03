"""Numbers at asked moments from streams with clocks of their own: what a fusion encoder is asked directly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from mambats.protocols import FusionEncoder
from mambats.scale import Scaler
from mambats.series import SensorRows


class StreamRegressor(nn.Module):
    """Answer numbers at any moments from the rows of all streams up to them.

    Args:
        encoder: Causal; reads the streams, and asks with one of no channels.
        targets: Names of the numbers.
        ask: The stream that asks.
        hidden: Width of the answering network's hidden layer.

    Raises:
        ValueError: If the encoder reads ahead, has no such stream, or there is no target.

    Example:
        encoder = StreamFusion({"imu": 6, "ask": 0}, 32, 1, period_ns=10_000_000)
        model = StreamRegressor(encoder, ["v", "w"])
        answers = model.estimate(model(window.streams, window.truth["motion"], window.length_ns))
    """

    def __init__(self, encoder: FusionEncoder, targets: Sequence[str], ask: str = "ask", hidden: int = 64) -> None:
        super().__init__()
        if not encoder.causal:
            raise ValueError("the encoder reads ahead: an answer may know the rows up to its moment only.")
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
        question = replace(asked, values=asked.values[..., :0], observed=None, counts=None)
        tokens, _ = self.encoder({**streams, self.ask: question}, length_ns)
        return self.head(tokens[self.ask])

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
