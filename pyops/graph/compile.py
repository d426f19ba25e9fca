"""pyops.compile: a model becomes a Program for the shapes of its example inputs."""
from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from ..core import memory
from ..core.backends import BACKENDS, ISAS, active, by_sample
from ..core.collector import resting
from ..core.dispatch import ELEMENTS
from ..core.front_ends import as_function, for_sizes, front_end_of
from ..core.threads import get_num_threads
from . import choose, samples, streaming
from .lowering import lower
from .passes import ONCE_CHOSEN, UNFUSED, WITH_SIZES, run_all
from .plan import Plan
from .program import Program
from .shared import Constants, keeping
from .sized import Sized
from .structure import unflatten
from .trace import trace
from .varying import Varying, opened

# a layer's error over its greatest output (python -m pyops.bench.precision)
BOUNDS = {"strict": 5e-6, "default": 2e-5, "fast": 1e-4}
PRECISIONS = tuple(BOUNDS)
MEMORY = ("fast", "balanced", "lean")
WEIGHTS = ("float32", "int8", "bf16")
TRACED = 4   # graphs that are kept for the sizes by which a model takes other ways
REFUSED = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError)   # of a model that is traced


@dataclass(eq=False)
class Options:
    """What a compilation was asked for. `force` maps a convolution's name, or "*", to an algorithm.
    constants: what the programs for several batch sizes share."""
    precision: str
    threads: int
    isa: str
    force: str = ""
    constants: Constants | None = None
    batch_invariant: bool = False
    memory: str = "balanced"
    weights: str = "float32"


# of an input: the least and the most that each axis which varies may be
Axes = Mapping[int, "tuple[int | None, int | None] | None"]


@overload
def compile(model: Callable[..., Any], example_inputs: Any, precision: str = ..., threads: int | None = ..., *,
            dynamic: None = ..., dynamic_batch: bool = ..., state: Any = ..., batch_invariant: bool | None = ...,
            memory: str = ..., shared: Constants | None = ..., weights: str = ...) -> Program: ...


@overload
def compile(model: Callable[..., Any], example_inputs: Any, precision: str = ..., threads: int | None = ..., *,
            dynamic: Mapping[Any, Axes], batch_invariant: bool | None = ..., memory: str = ...,
            shared: Constants | None = ..., weights: str = ...) -> Varying: ...


def compile(model: Callable[..., Any], example_inputs: Any, precision: str = "default",
            threads: int | None = None, *,
            dynamic: Any = None, dynamic_batch: bool = False, state: Any = None,
            batch_invariant: bool | None = None, memory: str = "balanced", shared: Constants | None = None,
            weights: str = "float32") -> Any:
    """Traces `model` once and returns a Program that computes the same from arrays of the same
    shapes.

    model: a Module in evaluation mode, pyops' or torch's, or a function of arrays built from
    pyops ops. example_inputs: one array or a tuple of them, float32, or whole numbers, truth
    values, doubles, halves where the model takes such; only shapes and dtypes matter. Weights
    are taken as they are now and packed. precision: "strict" computes every convolution
    directly; "default" may use Winograd's F(2x2) and F(4x4), and its algorithm along one axis (at
    most 2e-5 of a layer's largest output off); "fast" also F(6x6) (1e-4). threads: of a run, default get_num_threads().
    dynamic: axes whose sizes vary, by the arguments' names or positions: {"x": {0: (1, 64), 2: None}},
    inclusive ranges, None for any size. The result is then called with any size within (a Varying,
    of graph/varying.py); a ValueError names what is outside. The model is traced once for all sizes
    by which it does nothing else, a plan is made for each size that comes in milliseconds, and the
    last eight are kept, with one copy of the weights, which must not change.
    Of torch's exported programs the ranges of their dynamic shapes are taken.
    dynamic_batch: other sizes of the first axis are planned when they come; the plans of the
    last eight are kept, and share their weights.
    state: for a recurrent model that takes a state as its last argument and returns (results,
    new state), an example of it, an array or tuples of arrays, float32; program.step then keeps
    it from call to call.
    batch_invariant: a sample gets the same bits whatever the batch and the number of threads:
    algorithms are chosen as for one sample (None: within pyops.batch_invariant()).
    memory: "fast" takes the quickest algorithm of each layer, whatever weights it keeps (Winograd's has
    two to seven times as many); "balanced" spends a few percent of the program's time where
    it saves the most of them: on other algorithms, and on transforming filters in each run;
    "lean" keeps one copy of every weight beside the model's: what Winograd's algorithm makes of
    filters is made in each run, which its choice takes into account, and linear layers of few rows
    read the model's own arrays.
    shared: what Programs of one model share their weights by (graph.shared.Constants).
    weights: how linear layers' constant weights are stored, "int8" (symmetric, a scale an output, which
    is off by at most 1/254 of that output's largest weight), "bf16" (1/256 of each weight) or as they
    are. They are widened in registers, and sums are float32: layers of few rows, which take the time
    of reading weights, take less of it. Weights that are not finite stay float32.
    Raises TraceError, a TypeError, with the line of the model that cannot be compiled; ValueError
    for other arguments. PYOPS_FORCE_ALGO overrides the choice of algorithms: "direct", "winograd2",
    "winograd4", "winograd6", "line2", "line4", "line6", "stride_two", "columns", "strassen"
    or "name=algorithm,...".
    """
    options = options_of(precision, threads, shared, batch_invariant, memory, weights)
    if not callable(model):
        raise TypeError(f"compile: model must be a Module or a function of arrays, got {type(model).__name__}")
    if not isinstance(dynamic_batch, bool):
        raise TypeError(f"compile: dynamic_batch must be True or False, got {dynamic_batch!r}")
    inputs = example_inputs if isinstance(example_inputs, (tuple, list)) else (example_inputs,)
    inputs = tuple(np.asarray(getattr(x, "data", x) if not isinstance(x, np.ndarray) else x) for x in inputs)
    check_inputs(inputs)
    own = len(inputs)
    kept: list[np.ndarray] = []
    places = streaming.flatten(state, kept) if state is not None else None
    inputs += tuple(kept)
    if kept and (dynamic_batch or dynamic is not None):
        raise ValueError("compile: a program with a state takes one size; leave out dynamic and dynamic_batch")
    if dynamic_batch and dynamic is not None:
        raise ValueError("compile: dynamic says which axes vary; leave out dynamic_batch")
    if getattr(model, "training", False) is True:
        raise ValueError(f"compile: {type(model).__name__} is in training mode; call .eval() first")
    if kept:
        graph, structure = simplified(as_function(model, inputs[:own]), inputs, options,
                                      lambda values: (*values[:own], unflatten(places, values[own:])))
        stateful: Program = streaming.checked(
            Program(planned(graph, structure, options), options.isa, options.threads), own)
        return stateful
    if dynamic is None and not dynamic_batch and (front_end := front_end_of(model)) is not None:
        dynamic = front_end.ranges(model) or None
    if dynamic is not None:
        return of_sizes(model, inputs, options, dynamic)
    if dynamic_batch:
        return Family(model, options, {(i, 0) for i, x in enumerate(inputs) if x.ndim}).first(inputs)
    return build(as_function(model, inputs), inputs, options)


def options_of(precision: str, threads: int | None, constants: Constants | None = None,
               batch_invariant: bool | None = None, memory: str = "balanced", weights: str = "float32") -> Options:
    """What a compilation is asked for, on the active backend. ValueError for what it cannot be."""
    if precision not in PRECISIONS:
        raise ValueError(f"compile: precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if threads is not None and (not isinstance(threads, int) or isinstance(threads, bool) or threads < 1):
        raise ValueError(f"compile: threads must be a positive int or None, got {threads!r}")
    if batch_invariant not in (None, True, False):
        raise ValueError(f"compile: batch_invariant must be True, False or None, got {batch_invariant!r}")
    if memory not in MEMORY:
        raise ValueError(f"compile: memory must be one of {', '.join(MEMORY)}, got {memory!r}")
    if weights not in WEIGHTS:
        raise ValueError(f"compile: weights must be one of {', '.join(WEIGHTS)}, got {weights!r}")
    isa = active.get().name
    if isa not in ISAS:   # the reference has no kernels; CUDA's are no program's
        raise ValueError(f"compile: backend {isa!r} runs no programs; they run on "
                         f"{', '.join(b for b in ISAS if not BACKENDS[b].missing)}")
    choose.entries(force := os.environ.get("PYOPS_FORCE_ALGO", ""))   # refused even where nothing is convolved
    return Options(precision, threads or get_num_threads(), isa, force, constants or Constants(),
                   by_sample.get() if batch_invariant is None else bool(batch_invariant), memory, weights)


def of_sizes(model: Any, inputs: Any, options: Options, dynamic: Any) -> Varying:
    names = argument_names(model, len(inputs))
    shapes = opened(names, [x.shape for x in inputs], dynamic)
    family = Family(model, options, {(i, axis) for i, shape in enumerate(shapes)
                                     for axis, n in enumerate(shape) if not isinstance(n, int)})

    def make(arrays: Any, _: Any) -> Program:
        return family.program(arrays)
    program = Varying(make, list(zip([x.dtype for x in inputs], shapes)), [f"input {n!r}" for n in names])
    program.program_for(*inputs)   # a model that cannot be compiled shows here
    return program


def argument_names(model: Any, count: int) -> list[str]:
    """Names of a model's arguments as far as it has them, numbers of the others."""
    try:
        found = inspect.signature(getattr(model, "forward", model)).parameters.values()
    except (TypeError, ValueError):
        found = {}.values()
    names = [p.name for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:count]
    return names + [str(i) for i in range(len(names), count)]


def build(model: Any, inputs: Any, options: Options) -> Program:
    """A Program for inputs of these shapes; `model` is a function of arrays."""
    return Family(model, options, set()).program(inputs)


class Family:
    """Programs of one model for several sizes. It is traced and rewritten once for all sizes by which
    nothing is decided otherwise (sized.py), and they share their packed weights.

    axes: (input, axis) that vary. A model of another library, whose recording is for one size, is
    recorded for each.
    """

    def __init__(self, model: Any, options: Options, axes: set[tuple[int, int]]) -> None:
        self.model, self.options, self.axes = model, options, axes
        self.traced: list[Sized] = []      # the one used last comes first
        self.refused: Exception | None = None   # why a graph is of one size
        self.release: Callable[[], None] | None = None   # called when the model is not traced again
        self._lock = threading.RLock()
        self._for_sizes: list[Any] | None = None
        self._seen: set[Any] = set()

    def first(self, inputs: Any) -> Program:
        """A Program that plans for other sizes when they come."""
        return self.program(inputs, lambda shapes: self.program(tuple(np.zeros(s, d) for s, d in shapes)))

    def program(self, inputs: Any, again: Any = None) -> Program:
        # of later sizes nothing large is made
        with keeping(self.options.constants), resting(), nullcontext() if self.traced else memory.returned():
            graph, structure = self.graph(inputs)
            samples_at_once = 1
            one = self.of_one_sample(inputs) if samples.apart(graph) else None
            if self.release is not None:
                self.release()
            if one is not None:
                plan = planned(one, structure, self.options)
                if plan.arena > samples.CACHE:
                    samples_at_once = len(inputs[0])
            if samples_at_once == 1:
                plan = planned(graph, structure, self.options)
        memory.settle()
        return Program(plan, self.options.isa, self.options.threads, again, samples=samples_at_once)

    def of_one_sample(self, inputs: Any) -> Any:
        """The graph for the first sample; None for a model with constants of the whole batch."""
        try:
            return self.graph(tuple(x[:1] for x in inputs), last=False)[0]
        except REFUSED:
            return None

    def function(self, inputs: Any) -> Any:
        """The model as a function that is traced for several sizes; None if it is to be traced for
        these alone. What records a model of another library is asked when a second size comes."""
        if not self.axes:
            return None
        if self._for_sizes is None:
            self._seen.add(tuple(x.shape for x in inputs))
            if front_end_of(self.model) is not None and len(self._seen) < 2:
                return None
            self._for_sizes = [for_sizes(self.model, inputs, self.axes)]
        (found,) = self._for_sizes
        return found.function if found is not None and self._allows([x.shape for x in inputs]) else None

    def _allows(self, shapes: Any) -> bool:
        """Whether what is traced for several sizes is for these: torch takes an axis of one for
        something else."""
        return not self._for_sizes or self._for_sizes[0] is None or bool(self._for_sizes[0].allows(shapes))

    def graph(self, inputs: Any, last: bool = True) -> Any:
        """The graph for inputs of these shapes, and the structure of what the model returns. last: no other
        that was made before shares its weights."""
        shapes = tuple(x.shape for x in inputs)
        with self._lock:
            for i, sized in enumerate(self.traced):
                found = sized.filled(shapes) if self._allows(shapes) else None
                if found is not None:
                    self.traced.insert(0, self.traced.pop(i))
                    return found
            function = self.function(inputs)
            if function is None:   # a batch may be traced for its first sample as well (samples.py)
                alone = last and all(x.shape[:1] == (1,) for x in inputs)
                return simplified(as_function(self.model, inputs), inputs, self.options,
                                  traced=self.release if alone else None)
            try:
                sized = Sized.of(function, inputs, self.axes, passes)
            except REFUSED as why:   # what the model itself is at fault for, it shows again
                self.refused = why
                return simplified(as_function(self.model, inputs), inputs, self.options)
            found = sized.filled(shapes)
            assert found is not None, "guards hold for the sizes that they were found by"
            self.traced = [sized, *self.traced][:TRACED]
            return found


def simplified(model: Any, inputs: Any, options: Options | None = None,
               arrange: Any = lambda values: values, traced: Callable[[], None] | None = None) -> Any:
    """traced: called before the graph is rewritten, which makes new weights of what the model has."""
    with keeping(None if options is None else options.constants):
        graph, structure = trace(model, inputs, arrange)
        if traced is not None:
            traced()
        passes(graph)
    return graph, structure


def passes(graph: Any) -> None:
    run_all(graph, *(() if of_floats(graph) else (UNFUSED,)))


def of_floats(graph: Any) -> bool:
    """Whether kernels that fuse, which are float32's, may be used: a program of
    doubles is for checks."""
    return all(v.dtype != np.float64 for node in graph.every() for v in node.outputs)


def planned(graph: Any, structure: Any, options: Options) -> Plan:
    with keeping(options.constants):
        if of_floats(graph):
            run_all(graph, WITH_SIZES)
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
