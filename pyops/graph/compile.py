"""pyops.compile: a model becomes a Program for the shapes of its example inputs."""
from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..core.backends import BACKENDS, ISAS, active
from ..core.dispatch import ELEMENTS
from ..core.front_ends import as_function
from ..core.threads import get_num_threads
from . import choose, samples, streaming
from .lowering import lower
from .passes import ONCE_CHOSEN, UNFUSED, run_all
from .plan import Plan
from .program import Program
from .shared import Constants
from .structure import unflatten
from .trace import trace

# a layer's error over its greatest output (python -m pyops.bench.precision)
BOUNDS = {"strict": 5e-6, "default": 2e-5, "fast": 1e-4}
PRECISIONS = tuple(BOUNDS)


@dataclass(eq=False)
class Options:
    """What a compilation was asked for. `force` maps a convolution's name, or "*", to an algorithm.
    constants: what the programs for several batch sizes share."""
    precision: str
    threads: int
    isa: str
    force: str = ""
    constants: Constants | None = None


def compile(model: Callable[..., Any], example_inputs: Any, precision: str = "default",
            threads: int | None = None, *,
            dynamic_batch: bool = False, state: Any = None, shared: Constants | None = None) -> Program:
    """Traces `model` once and returns a Program that computes the same from arrays of the same
    shapes.

    model: a Module in evaluation mode, pyops' or torch's, or a function of arrays built from
    pyops ops. example_inputs: one array or a tuple of them, float32, or whole numbers, truth
    values, doubles, halves where the model takes such; only shapes and dtypes matter. Weights
    are taken as they are now and packed. precision: "strict" computes every convolution
    directly; "default" may use Winograd's F(2x2) and F(4x4) (at most 2e-5 of a layer's largest
    output off); "fast" also F(6x6) (1e-4). threads: of a run, default get_num_threads().
    dynamic_batch: other sizes of the first axis are planned when they come; the plans of the
    last eight are kept, and share their weights.
    state: for a recurrent model that takes a state as its last argument and returns (results,
    new state), an example of it, an array or tuples of arrays, float32; program.step then keeps
    it from call to call.
    shared: what Programs of one model share their weights by (graph.shared.Constants).
    Raises TraceError, a TypeError, with the line of the model that cannot be compiled; ValueError
    for other arguments. PYOPS_FORCE_ALGO overrides the choice of algorithms: "direct", "winograd2",
    "winograd4", "winograd6", or "name=algorithm,...".
    """
    if precision not in PRECISIONS:
        raise ValueError(f"compile: precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise ValueError(f"compile: threads must be a positive int or None, got {threads!r}")
    inputs = example_inputs if isinstance(example_inputs, (tuple, list)) else (example_inputs,)
    inputs = tuple(np.asarray(getattr(x, "data", x) if not isinstance(x, np.ndarray) else x) for x in inputs)
    check_inputs(inputs)
    own = len(inputs)
    kept: list[np.ndarray] = []
    places = streaming.flatten(state, kept) if state is not None else None
    inputs += tuple(kept)
    if kept and dynamic_batch:
        raise ValueError("compile: a program with a state takes one batch size; leave out dynamic_batch")
    if getattr(model, "training", False) is True:
        raise ValueError(f"compile: {type(model).__name__} is in training mode; call .eval() first")
    isa = active.get().name
    if isa not in ISAS:   # the reference has no kernels; CUDA's are no program's
        raise ValueError(f"compile: backend {isa!r} runs no programs; they run on "
                         f"{', '.join(b for b in ISAS if not BACKENDS[b].missing)}")
    options = Options(precision, threads or get_num_threads(), isa, os.environ.get("PYOPS_FORCE_ALGO", ""),
                      shared or Constants())
    choose.entries(options.force)   # refused even where there is no convolution
    again: Any = None
    if dynamic_batch:

        def again(shapes: Any) -> Program:   # asks as_function anew: an exported graph is of one shape
            others = tuple(np.zeros(s, d) for s, d in shapes)
            return build(as_function(model, others), others, options)
    function = as_function(model, inputs[:own])
    if kept:
        graph, structure = simplified(function, inputs,
                                      lambda values: (*values[:own], unflatten(places, values[own:])))
        stateful: Program = streaming.checked(
            Program(planned(graph, structure, options), options.isa, options.threads), own)
        return stateful
    return build(function, inputs, options, again)


def build(model: Any, inputs: Any, options: Options, again: Any = None) -> Program:
    graph, structure = simplified(model, inputs)
    if samples.apart(graph):
        one, _ = simplified(model, tuple(x[:1] for x in inputs))
        plan = planned(one, structure, options)
        if plan.arena > samples.CACHE:
            return Program(plan, options.isa, options.threads, again, samples=len(inputs[0]))
    return Program(planned(graph, structure, options), options.isa, options.threads, again)


def simplified(model: Any, inputs: Any, arrange: Any = lambda values: values) -> Any:
    graph, structure = trace(model, inputs, arrange)
    run_all(graph, *(() if of_floats(graph) else (UNFUSED,)))
    return graph, structure


def of_floats(graph: Any) -> bool:
    """Whether kernels that fuse, which are float32's, may be used: a program of
    doubles is for checks."""
    return all(v.dtype != np.float64 for node in graph.every() for v in node.outputs)


def planned(graph: Any, structure: Any, options: Options) -> Plan:
    choose.run(graph, options)
    if of_floats(graph):
        run_all(graph, ONCE_CHOSEN)
    plan = Plan.of(lower(graph, options), structure, options.precision)
    if options.constants is not None:
        options.constants.share(plan)
    # nodes and values hold each other, and would hold the weights until the collector finds them
    for node in list(graph.every()):
        node.inputs, node.normalised = [], None
    return plan


def check_inputs(inputs: Any) -> None:
    if not inputs:
        raise ValueError("compile: example_inputs is empty")
    for i, x in enumerate(inputs):
        if x.dtype.name not in ELEMENTS:
            raise TypeError(f"compile: example input {i} is {x.dtype}; programs take "
                            f"{', '.join(sorted(ELEMENTS))}: convert it with .astype")
