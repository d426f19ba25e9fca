"""A recorded graph as torch code: single calls for the table of ops, a module for networks that
torchvision does not have."""
from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from .record import Graph, Unsupported, Value, convert


def scaled_tanh(input):
    return 1.7159 * torch.tanh(input * (2 / 3))


def squared_euclidean(input, weight):
    return ((input[:, None] - weight) ** 2).sum(-1)


# spelt otherwise in torch
OWN = {"scaled_tanh": scaled_tanh, "squared_euclidean": squared_euclidean, "getitem": operator.getitem}
# what users write with inplace=True
INPLACE = ("relu", "relu6", "silu", "hardswish", "hardsigmoid", "hardtanh")

FRESH = ("conv", "batch_norm", "linear", "add")   # results that are nobody else's memory


def function(name: str) -> Callable:
    if name in OWN:
        return OWN[name]
    for home in (torch.nn.functional, torch, torch.special):
        if hasattr(home, name):
            return getattr(home, name)
    raise Unsupported(f"torch has no {name}")


def single(graph: Graph, x: np.ndarray) -> Callable[[], torch.Tensor]:
    """The graph's only step, called with tensors that are made beforehand."""
    values = {graph.input.name: torch.from_numpy(x),
              **{k: torch.from_numpy(a) for k, a in graph.constants.items()}}
    step, = graph.steps
    args, kwargs = convert((step.args, step.kwargs), lambda v: values[v.name], Value)
    return partial(function(step.name), *args, **kwargs)


def module(graph: Graph) -> torch.nn.Module:
    """The graph as a module with its constants as parameters: plain code, as torch.fx writes it.

    An activation overwrites its input where nobody else reads that, as people write it.
    """
    root, code = torch.nn.Module(), torch.fx.Graph()
    nodes = {graph.input.name: code.placeholder("x")}
    for name, array in graph.constants.items():
        root.register_parameter(name, torch.nn.Parameter(torch.from_numpy(array), requires_grad=False))
        nodes[name] = code.get_attr(name)
    readers, fresh = graph.consumers(), {}
    for step in graph.steps:
        args, kwargs = step.args, step.kwargs
        if step.name in INPLACE and readers[step.args[0].name] == 1 and fresh.get(step.args[0].name):
            args, kwargs = (), {k: v for k, v in step.arguments.items() if k != "out"} | {"inplace": True}
        args, kwargs = convert((args, kwargs), lambda v: nodes[v.name], Value)  # noqa: B023
        args, kwargs = convert((args, kwargs), np.generic.item, np.generic)   # in code they would be NumPy's
        made = code.call_function(function(step.name), tuple(args), dict(kwargs))
        fresh |= {v.name: step.name.startswith(FRESH) for v in step.results}
        if isinstance(step.result, tuple):
            nodes |= {v.name: code.call_function(operator.getitem, (made, i))
                      for i, v in enumerate(step.result)}
        else:
            nodes[step.result.name] = made
    code.output(nodes[graph.output.name])
    return torch.fx.GraphModule(root, code).eval()
