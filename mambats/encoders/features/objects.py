"""Tables of objects to tokens: what each is, where and how it moves, who it is; in any order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mambats.encoders.compact import blank_removed
from mambats.encoders.features.extractor import FeatureExtractor, with_tokens
from mambats.series import SensorRows

#: What can be told of an object.
Part = Literal["position", "velocity", "size", "yaw", "score", "class", "identity", "appearance"]
#: Columns of each part in a table, and how many numbers they become.
COLUMNS: dict[str, tuple[str, ...]] = {
    "position": ("x", "y", "z"),
    "velocity": ("vx", "vy", "vz"),
    "size": ("l", "w", "h"),
    "yaw": ("yaw",),
    "score": ("score",),
    "class": ("class",),
    "identity": ("track",),
}
SPEED = 10.0  # m/s, brings velocities to about 1
WAVES = 8  # of an identity's code: two of 1,000 identities differ by 0.52 of its length at least


class ObjectTokens(NamedTuple):
    """What is read of tables.

    Attributes:
        objects: A token an object, shape (..., M, width), zeros where there is none.
        pooled: A token a table, shape (..., width), the same for any order of its objects.
    """

    objects: Tensor
    pooled: Tensor


class ObjectEncoder(FeatureExtractor):
    """Embed each object of a table and pool them: mean, maximum, number, and some looked up by attention.

    A part is embedded on its own and the parts are added, so that leaving one out leaves the others as they were.
    Position counts as fractions of `reach`, with range and bearing; size as logarithms; yaw as sine and cosine; a class
    is looked up; identity (a tracker's number) becomes a fixed code of its own; appearance (columns a0, a1, ...: what a
    re-identification network says) is brought to unit length.
    Values that are not finite are 0 in their part; a row of none but those is not there.

    Args:
        channels: Names of the table's columns: x y z [m], vx vy vz [m/s], l w h [m], yaw [rad], score, class,
            track, a0 a1 ...
        width: Of a token.
        parts: What to read; None reads all that the columns tell.
        classes: Number of classes, codes 0 to classes - 1; others count as one more, unknown.
        reach: Metres that count as 1.
        queries: Objects that a table's token can look up: each weighs all objects, by what they are, to one mean.

    Raises:
        ValueError: If there is nothing to read, or a part's columns are not there.

    Example:
        encoder = ObjectEncoder(("x", "y", "z", "l", "w", "h", "yaw", "score", "class"), width=32, classes=8)
        tokens = encoder.tokens(torch.rand(2, 5, 9), torch.tensor([5, 3]))

    Source: M. Zaheer et al., Deep Sets, NeurIPS 2017; J. Lee et al., Set Transformer, ICML 2019, section 3.2 (pooling
    by attention).
    """

    def __init__(
        self,
        channels: Sequence[str],
        width: int,
        parts: Sequence[Part] | None = None,
        classes: int = 16,
        reach: float = 50.0,
        queries: int = 4,
    ) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.width = width
        self.parts = parts
        self.classes = classes
        self.reach = reach
        self.queries = queries
        self._columns = _find(self.channels, parts)
        if min(width, classes, queries) < 1 or not reach > 0:
            raise ValueError(
                f"width is {width}, classes {classes}, reach {reach} m, queries {queries}: need above 0 each."
            )
        sizes = {part: _numbers(part, len(columns)) for part, columns in self._columns.items()}
        self.embeddings = nn.ModuleDict(
            {
                f"of_{part}": nn.Embedding(classes + 1, width) if part == "class" else nn.Linear(size, width)
                for part, size in sizes.items()
            }
        )
        self.inner = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.weigh = nn.Linear(width, queries)
        self.head = nn.Linear((2 + queries) * width + 1, width)

    def tokens(self, table: Tensor, counts: Tensor | None = None, mask: Tensor | None = None) -> ObjectTokens:
        """Return tokens of objects and of tables.

        Args:
            table: Shape (..., M, C), columns as in `channels`, padded behind.
            counts: Objects of each table, shape (...) int64, or None where all M exist.
            mask: Which rows exist, shape (..., M) bool, beside counts or instead.
        """
        there = self._there(table, counts, mask)
        objects = self._embed(blank_removed(table, there))
        objects = blank_removed(self.norm(objects + self.inner(objects)), there)
        return ObjectTokens(objects, self._pool(objects, there))

    def forward(self, table: Tensor, counts: Tensor | None = None) -> Tensor:
        """Return one token a table, (..., width); arguments as for `tokens`."""
        return self.tokens(table, counts).pooled

    def encode_rows(self, rows: SensorRows, length_ns: int) -> SensorRows:
        """Give each table its token; see `FeatureExtractor.encode_rows`."""
        return with_tokens(rows, self(rows.values, rows.counts))

    def _embed(self, table: Tensor) -> Tensor:
        """Add up the embeddings of the parts, (..., M, width)."""
        total = self.head.weight.new_zeros(*table.shape[:-1], self.width)
        for part, columns in self._columns.items():
            picked = torch.stack([table[..., column] for column in columns], -1)
            total = total + self.embeddings[f"of_{part}"](self._numbers_of(part, picked)).to(total.dtype)
        return total

    def _numbers_of(self, part: str, values: Tensor) -> Tensor:
        """Bring the columns of one part to numbers of about 1, or to codes."""
        values = torch.where(values.isfinite(), values, torch.zeros_like(values))
        match part:
            case "class":
                code = values[..., 0].round().long()
                return torch.where((code >= 0) & (code < self.classes), code, torch.full_like(code, self.classes))
            case "position":
                return _place(values, self.reach)
            case "velocity":
                return values / SPEED
            case "size":
                return values.clamp_min(0.01).log()  # 1 cm: no detected box is smaller
            case "yaw":
                return torch.cat([values.sin(), values.cos()], -1)
            case "identity":
                return _code(values)
            case "appearance":
                return values / values.norm(dim=-1, keepdim=True).clamp_min(1e-6)
            case _:
                return values

    def _pool(self, objects: Tensor, there: Tensor) -> Tensor:
        number = there.sum(-1, keepdim=True)
        # A row behind the last, so that a table without objects has a maximum: the lowest number, taken out after.
        most = F.pad(objects.masked_fill(~there.unsqueeze(-1), -torch.inf), (0, 0, 0, 1), value=-torch.inf).amax(-2)
        mean = objects.sum(-2) / number.clamp_min(1)
        count = torch.log1p(number.to(mean.dtype))
        return self.head(
            torch.cat([mean, most.masked_fill(number == 0, 0.0), self._look_up(objects, there), count], -1)
        )

    def _look_up(self, objects: Tensor, there: Tensor) -> Tensor:
        """Return one mean of objects (..., M, width) a query, (..., queries * width), zeros where there is none."""
        logits = self.weigh(objects).to(objects.dtype).masked_fill(~there.unsqueeze(-1), torch.finfo(objects.dtype).min)
        weights = torch.where(there.unsqueeze(-1), logits.softmax(-2), 0.0)
        return (weights.mT @ objects.to(weights.dtype)).flatten(-2)

    def _there(self, table: Tensor, counts: Tensor | None, mask: Tensor | None) -> Tensor:
        """Return which rows exist, (..., M) bool.

        Raises:
            ValueError: If shapes do not fit.
        """
        if table.ndim < 2 or table.shape[-1] != len(self.channels) or not table.dtype.is_floating_point:
            raise ValueError(
                f"table is {table.dtype} of shape {tuple(table.shape)}: need floats of shape (..., M, "
                f"{len(self.channels)}), columns {self.channels}."
            )
        for name, given, need in (("counts", counts, table.shape[:-2]), ("mask", mask, table.shape[:-1])):
            if given is not None and given.shape != need:
                raise ValueError(
                    f"{name} has shape {tuple(given.shape)}, table {tuple(table.shape)}: need {tuple(need)}."
                )
        there = table.isfinite().any(-1)
        there = there if mask is None else there & mask
        if counts is None:
            return there
        return there & (torch.arange(table.shape[-2], device=table.device) < counts.unsqueeze(-1))


def _find(channels: tuple[str, ...], parts: Sequence[str] | None) -> dict[str, list[int]]:
    """Return the columns of each part.

    Raises:
        ValueError: If a part is unknown or its columns are not there.
    """
    appearance = tuple(name for name in channels if name[:1] == "a" and name[1:].isdigit())
    known = {**COLUMNS, "appearance": appearance}
    told = [part for part, names in known.items() if names and set(names) <= set(channels)]
    wanted = told if parts is None else list(parts)
    if not wanted or not set(wanted) <= set(told):
        raise ValueError(
            f"parts are {wanted}, the columns {channels} tell {told}: name some of {list(known)}, with columns."
        )
    return {part: [channels.index(name) for name in known[part]] for part in wanted}


def _numbers(part: str, columns: int) -> int:
    """How many numbers the columns of a part become."""
    return {"position": 6, "yaw": 2, "identity": 2 * WAVES}.get(part, columns)


def _place(values: Tensor, reach: float) -> Tensor:
    """Return x y z as fractions of the reach, then range, and the bearing as cosine and sine: (..., 6)."""
    far = values[..., :2].square().sum(-1, keepdim=True).clamp_min(1e-6).sqrt()
    return torch.cat([values / reach, far / reach, values[..., :2] / far], -1)


def _code(identity: Tensor) -> Tensor:
    """Return a code (..., 2 WAVES) of whole numbers (..., 1): points on circles, turned by irrational angles."""
    turns = identity.double() * torch.arange(1, WAVES + 1, device=identity.device).double().sqrt() * 1.6180339887498949
    angle = (turns.frac() * (2 * torch.pi)).to(identity.dtype)
    return torch.cat([angle.cos(), angle.sin()], -1)
