"""torch.compile(model, backend="pyops"): inference runs as a Program on torch's memory; what cannot, runs as torch would run it.

A graph whose ops all have counterparts (aten.py) becomes one Program, with weights packed when it is made and made again when they change.
A graph with another op, in training, or of another type than float32 runs eagerly in torch; compile_report() says which and why.
"""
from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from .. import graph
from .exported import as_function

OPTIONS = ("precision", "threads")


@dataclass(frozen=True)
class Report:
    """What became of one graph that torch.compile handed over. why: the reason why torch runs it, empty where we do."""
    steps: int
    flops: float
    why: str


_reports: list[Report] = []


def compile_report(clear: bool = False) -> list[Report]:
    """Every graph since the start or the last clear, in order."""
    found = list(_reports)
    if clear:
        _reports.clear()
    return found


def pyops(gm: torch.fx.GraphModule, example_inputs: list[torch.Tensor], *, options: dict | None = None) -> Callable:
    """The backend. options: precision ("strict", "default", "fast") and threads, as pyops.compile takes them. ValueError for another."""
    unknown = sorted(set(options or {}) - set(OPTIONS))
    if unknown:
        raise ValueError(f"torch.compile: backend pyops has no option {', '.join(unknown)}; it takes {', '.join(OPTIONS)}")
    try:
        return Compiled(gm, example_inputs, options or {})
    except Exception as why:   # whatever export or a trace may say: torch can run it
        _reports.append(Report(0, 0.0, f"{type(why).__name__}: {why}"))
        warnings.warn(f"torch.compile(backend='pyops'): a graph of {len(gm.graph.nodes)} nodes runs in torch: {why}", stacklevel=2)
        return gm.forward


class Bound(torch.nn.Module):
    """The graph with its weights among the attributes, so that an export takes them as constants."""

    def __init__(self, gm, example_inputs, positions):
        super().__init__()
        self.gm, self.positions = gm, positions
        self.count = len(example_inputs)
        for i, x in enumerate(example_inputs):
            if i not in positions:
                self.register_buffer(f"weight{i}", x.detach(), persistent=False)
        self.eval()

    def forward(self, *inputs):
        given = iter(inputs)
        return self.gm(*(next(given) if i in self.positions else getattr(self, f"weight{i}") for i in range(self.count)))


class Compiled:
    """A graph as a Program, made anew when a weight has changed."""

    def __init__(self, gm, example_inputs, options):
        if any(not isinstance(x, torch.Tensor) for x in example_inputs):
            raise TypeError("sizes that vary from call to call")
        if torch.is_grad_enabled() and any(x.requires_grad for x in example_inputs):
            raise TypeError("gradients are wanted; compile under torch.no_grad() or torch.inference_mode()")
        self.gm, self.options = gm, options
        self.positions = [i for i, x in enumerate(example_inputs) if not is_weight(x)]
        self.weights = [i for i, x in enumerate(example_inputs) if is_weight(x)]
        self.make(example_inputs)
        _reports.append(Report(len(self.program.steps), sum(s.flops for s in self.program.steps), ""))

    def make(self, inputs):
        examples = {i: torch.zeros(inputs[i].shape, dtype=inputs[i].dtype) for i in self.positions}
        bound = Bound(self.gm, [examples.get(i, x) for i, x in enumerate(inputs)], set(self.positions))
        self.state = self.versions(inputs)
        self.program = graph.compile(as_function(bound, tuple(examples.values())), tuple(x.numpy() for x in examples.values()), **self.options)

    def versions(self, inputs):
        """Other numbers mean other weights: one that was changed in place has another version, a new one another address."""
        return [(inputs[i].data_ptr(), inputs[i]._version) for i in self.weights]

    def __call__(self, *inputs):
        if self.versions(inputs) != self.state:
            self.make(inputs)
        results = self.program(*(inputs[i].detach().numpy() for i in self.positions))
        return tuple(torch.from_numpy(r) if isinstance(r, np.ndarray) else r for r in results)


def is_weight(x) -> bool:
    """Whether torch.compile passes the model's own tensor."""
    return isinstance(x, torch.nn.Parameter) or getattr(x, "_dynamo_static_input_type", None) is not None
