"""A forecaster's step on a GPU, recorded once as a CUDA graph and replayed in buffers of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mambats.data.calendar import calendar_names

if TYPE_CHECKING:
    from mambats.bundle.flat import FlatForecaster


class Buffers:
    """Named tensors in one piece of memory a dtype: they move between host and device in one copy each.

    Args:
        like: Tensors of the form to hold; they are copied in.
    """

    def __init__(self, like: Mapping[str, Tensor]) -> None:
        # Large ones first: their sizes are mostly multiples of 16 bytes, so that kernels can load four numbers at once.
        self._names = sorted(like, key=lambda name: -like[name].numel())
        self._forms = {name: (like[name].dtype, like[name].shape) for name in like}
        kinds = dict.fromkeys(leaf.dtype for leaf in like.values())
        self.flat = {
            kind: torch.cat([like[name].flatten() for name in self._names if like[name].dtype == kind])
            for kind in kinds
        }
        self.leaves = self.cut(self.flat)

    def cut(self, flat: Mapping[torch.dtype, Tensor]) -> dict[str, Tensor]:
        """View one piece a dtype as the named tensors."""
        at, found = dict.fromkeys(flat, 0), dict[str, Tensor]()
        for name in self._names:
            kind, shape = self._forms[name]
            count = shape.numel()
            found[name] = flat[kind][at[kind] : at[kind] + count].view(shape)
            at[kind] += count
        return {name: found[name] for name in self._forms}

    def write(self, values: Mapping[str, Tensor]) -> None:
        """Copy tensors of the same names and shapes in."""
        torch._foreach_copy_(list(self.leaves.values()), [values[name] for name in self.leaves])  # pyright: ignore[reportPrivateImportUsage]

    def to_host(self) -> dict[str, Tensor]:
        """Begin to copy everything into new memory of the host; it is there when the device's stream is done."""
        made = {
            kind: torch.empty(part.shape, dtype=kind, pin_memory=part.is_cuda).copy_(part, non_blocking=True)
            for kind, part in self.flat.items()
        }
        return self.cut(made)


class CapturedForecaster:
    """Step a fixed number of series: put a row into `inputs`, call `replay`, read `forecast` and `state`.

    Weights are read where they are when it is made. On a CPU the same operations run one by one.

    Args:
        model: In evaluation mode, on the device where it is to run.
        rows: Series side by side.

    Example:
        captured = CapturedForecaster(model.to("cuda"), rows=64)
        captured.inputs["x"].copy_(values)
        captured.replay()
        print(captured.forecast)
    """

    @torch.inference_mode(mode=False)  # else buffers made inside could not be written outside
    @torch.no_grad()
    def __init__(self, model: FlatForecaster, rows: int) -> None:
        self.model, self.rows = model, rows
        weight = next(model.model.parameters())
        facts = model.facts
        columns = len(facts.columns)
        self.inputs: dict[str, Tensor] = {
            "x": weight.new_zeros(rows, columns),
            "observed": torch.ones(rows, columns, dtype=torch.bool, device=weight.device),
            "gap": weight.new_ones(rows),
        }
        if facts.clock:
            self.inputs["clock"] = torch.zeros(rows, dtype=torch.int64, device=weight.device)
        if facts.calendar:
            self.inputs["future"] = weight.new_zeros(rows, facts.horizon + 1, len(calendar_names(facts.calendar)))
        self.state = Buffers(model.init_state(rows))
        self.graph = self._record() if weight.is_cuda else None
        self.forecast = self._forecast if self.graph is not None else self._run()[0].clone()

    @torch.no_grad()
    def replay(self) -> None:
        """Take the row that stands in `inputs`: `forecast` and `state` are then those after it."""
        if self.graph is not None:
            self.graph.replay()
            return
        forecast, after = self._run()
        self.forecast.copy_(forecast)
        self.state.write({name: leaf.clone() for name, leaf in after.items()})

    def _run(self) -> tuple[Tensor, dict[str, Tensor]]:
        given = self.inputs
        return self.model(
            given["x"], given["observed"], given["gap"], given.get("clock"), given.get("future"), self.state.leaves
        )

    def _record(self) -> torch.cuda.CUDAGraph:
        """Warm up beside, where kernels are compiled and chosen, then record; neither changes the state."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self.inputs["x"].device), torch.autocast("cuda", enabled=False):
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(3):
                    self._run()
            torch.cuda.current_stream().wait_stream(aside)
            with torch.cuda.graph(graph):
                self._forecast, after = self._run()
                self.state.write(after)
        return graph
