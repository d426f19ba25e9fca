"""Tracing: a model runs once on Traced values, which have a shape and a dtype but no numbers; every
op it calls becomes a node.

An op's result shapes come from its own glue (`Op.forward`), run on arrays of untouched zeros with
kernels that do nothing.
"""
from __future__ import annotations

import math
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..core import scope
from ..core.dispatch import WHOLE, as_array, kinds_of, ready_one, whole_row
from ..core.kernel_set import DTYPES
from ..core.late import Late
from ..core.operands import OPERANDS, kind_of
from ..core.registry import OPS
from ..core.symbolic import Count, Formulas, SymInt, at, symbolic, unique_sizes
from ..core.tensor import Tensor, no_grad
from ..files.pieces import borrowed
from ..ops.result_shapes import broadcast
from ..ops.typed import alike
from .ir import Graph, Node, Value
from .structure import flatten

F = Late("pyops.functional")
PACKAGE = str(Path(__file__).parent.parent)
FLOAT, DOUBLE, INDEX = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)


class TraceError(TypeError):
    """The model does something whose result depends on numbers, or calls what is no op; names it
    and the line that did."""


class Tracer:
    """The nodes recorded so far, and the module that is running.

    outer: of the graph in which what is traced will be a body. Values of that which the body reads
    become inputs of it (`captured`).
    """

    def __init__(self, outer: Tracer | None = None):
        self.nodes: list[Node] = []
        self.outer = outer
        self.modules: list[str] = outer.modules if outer else []
        self.formulas: Formulas | None = outer.formulas if outer else None   # where axes of inputs vary
        self.inputs: set[Value] = set()   # of the whole graph
        self.wanted: set[Value] = set()   # inputs whose numbers the model asked for
        self.owned: set[Value] = set()    # of a body: the values that are its own
        self.captured: dict[Value, Value] = {}   # values of the outer graph, and what they are in the body
        self.lengths: dict[Value, int] = {}   # numbers of the run that count entries, and the most they can be
        self.shared: dict[tuple, Any] = {}    # what is made once for all that ask for it (counted.py)
        self.bodies = 0
        self.prefix = ""                  # of values' names

    def own(self, value):
        """The value, or what it is called in this body."""
        if self.outer is None or not isinstance(value, Value) or value in self.owned:
            return value
        value = self.outer.own(value)
        if value not in self.captured:
            self.captured[value] = Value(value.shape, value.dtype, None, value.name)
            self.owned.add(self.captured[value])
        return self.captured[value]

    def asked(self, value: Value) -> None:
        """Notes that the model wants the numbers of a value, so those of the inputs that it comes
        from."""
        self.top.wanted |= self.sources(value)

    @property
    def top(self) -> Tracer:
        return self if self.outer is None else self.outer.top

    def sources(self, value: Value) -> set[Value]:
        """The inputs of the whole graph that a value comes from; of a state of a loop, itself."""
        found = origins(self.own(value))
        if self.outer is None:
            return found
        outside = {inside: v for v, inside in self.captured.items()}
        return {source for v in found
                for source in (self.outer.sources(outside[v]) if v in outside else (v,))}

    def most(self, value: Value) -> int | None:
        """The most that a number which counts entries can be; None of others."""
        if value in self.lengths or self.outer is None:
            return self.lengths.get(value)
        outside = next((v for v, inside in self.captured.items() if inside is value), None)
        return None if outside is None else self.outer.most(outside)

    def add(self, node: Node) -> None:
        self.nodes.append(node)
        if self.outer is not None:
            self.owned.update(node.outputs)

    def within(self, module: str):
        return Within(self.modules, module)


class Within:
    """While the block runs, a module is the innermost one."""

    __slots__ = ("modules", "module")

    def __init__(self, modules: list[str], module: str) -> None:
        self.modules, self.module = modules, module

    def __enter__(self) -> None:
        self.modules.append(self.module)

    def __exit__(self, *_: object) -> None:
        self.modules.pop()


_tracer: ContextVar[Tracer | None] = ContextVar("pyops_tracer", default=None)


class Blank:
    """Arrays of zeros that lie on each other, in memory that the system need not provide as long as
    nobody looks at it. Larger ones, which it may not promise for long, have their own."""
    LEAST, ROOM = 1 << 12, 64 << 20   # bytes

    def __init__(self) -> None:
        self.room = np.zeros(0, np.uint8)

    def __call__(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        dtype = np.dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        if not self.LEAST <= size <= self.ROOM or dtype.hasobject:
            return np.zeros(shape, dtype)
        if not self.room.nbytes:
            self.room = np.zeros(self.ROOM, np.uint8)
        return self.room[:size].view(dtype).reshape(shape)


blank_input, blank_result = Blank(), Blank()   # glue may write to the latter
stand_in = lru_cache(1 << 8)(blank_input)   # layers have few shapes


class ShapeKernels:
    """Stands in for a backend's kernels where only shapes matter."""

    def __init__(self, real: str = "f32"):
        self.real = real
        self.dtype = self.acc = DTYPES[real]

    def host(self, array):
        return None   # numbers are for the run to see

    def empty(self, shape, dtype=None):
        return blank_result(shape if isinstance(shape, tuple) else tuple(np.atleast_1d(shape)),
                            dtype or self.dtype)

    def __getattr__(self, name):
        return nothing


def nothing(*_):
    """A kernel that does nothing."""


class Traced(Tensor):
    """A value of the graph being traced, in a Tensor's clothes."""

    __slots__ = ("value",)
    __pyops_priority__ = 1     # over a Parameter among the same op's inputs
    prepares_weights = True    # once, when the program is made: ops need not weigh what that costs

    def __init__(self, value: Value):
        self.value = value
        self.requires_grad, self.node, self.grad = False, None, None
        self.index = self.changed = 0

    def asked(self):
        """Notes that the model wants its numbers: those of the inputs that it comes from."""
        tracer = _tracer.get()
        if tracer is not None:
            tracer.asked(self.value)

    @property
    def data(self):
        self.asked()
        raise TraceError(f"compile: {self.value!r} is asked for its numbers at {caller()}; a compiled model "
                         "cannot depend on them")

    def numbers(self, what):
        self.asked()
        raise TraceError(f"compile: {what} of {self.value!r} at {caller()} needs its numbers; a compiled "
                         "model cannot depend on them")

    def cut(self, count, dim: int = 0):
        """The first `count` entries along an axis, traced or known."""
        from .counted import Counted, mark
        if not isinstance(count, Traced):
            return self[(slice(None),) * dim + (slice(0, int(count)),)]
        found, tracer = Counted(self, dim, count), _tracer.get()
        if tracer is not None and self.value.node in tracer.nodes[-1:]:   # made to be cut
            mark(found, len(tracer.nodes) - 1)
        return found

    shape = property(lambda self: self.value.shape)
    dtype = property(lambda self: self.value.dtype)
    ndim = property(lambda self: len(self.value.shape))

    @property
    def size(self):
        count = math.prod(self.value.shape)
        return Count(count, self.value.shape) if isinstance(count, SymInt) else Tensor.size.fget(self)

    def __array__(self, dtype=None, copy=None):
        self.asked()
        raise TraceError(f"compile: {self.value!r} is turned into an array at {caller()}; call ops of "
                         "pyops.functional instead")

    def __repr__(self):
        return f"Traced({self.value!r})"

    # Comparisons of a Tensor look at its numbers; here they are part of the model.
    def __eq__(self, other):
        return F.eq(self, other)

    def __ne__(self, other):
        return F.ne(self, other)

    def __lt__(self, other):
        return F.lt(self, other)

    def __le__(self, other):
        return F.le(self, other)

    def __gt__(self, other):
        return F.gt(self, other)

    def __ge__(self, other):
        return F.ge(self, other)

    def __and__(self, other):
        return F.bitwise_and(self, other)

    def __or__(self, other):
        return F.bitwise_or(self, other)

    def __xor__(self, other):
        return F.bitwise_xor(self, other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self):
        return F.bitwise_not(self)

    def __neg__(self):
        return F.neg(self)

    def __abs__(self):
        return F.abs(self)

    def __hash__(self):
        return id(self)

    @staticmethod
    def __pyops_call__(op, inputs, attrs):
        tracer = _tracer.get()
        if tracer is None:
            raise TraceError(
                f"compile: {op.name} is called on a traced value outside of compile, at {caller()}")
        if op.whole and all(getattr(getattr(v, "dtype", None), "kind", "") in WHOLE for v in inputs):
            op = whole_row(op)
        kinds = kinds_of(op, len(inputs))
        if "i" in kinds or "j" in kinds:
            inputs = tuple(as_index(v) if kind in "ij" else v for v, kind in zip(inputs, kinds))
        read = [node_input(op, i, v, kind) for i, (v, kind) in enumerate(zip(inputs, kinds))]
        if tracer.outer is not None:
            read = list(map(tracer.own, read))
        node = Node(op.name, read, dict(attrs), where=caller(),
                    module=tracer.modules[-1] if tracer.modules else "")
        refuse_what_programs_cannot(op, node, kinds)
        try:
            result = infer(op, node, tracer.formulas is not None)
        except (TypeError, ValueError, IndexError) as why:
            raise type(why)(f"{why} (called at {node.where})") from why
        several = isinstance(result, tuple)
        results = result if several else (result,)
        node.outputs = [Value(shape, r.dtype, node, f"{tracer.prefix}{op.name}{len(tracer.nodes)}")
                        for shape, r in zip(shapes_of(op, node, results, tracer.formulas), results)]
        tracer.add(node)
        made = tuple(map(Traced, node.outputs))
        return made if several else made[0]


def operator(name: str, plain: Callable, function: str, swapped: bool) -> Callable:
    """An operator of arithmetic; of whole numbers, which a Tensor leaves to NumPy, the op."""
    def of(self, other):
        if not isinstance(other, OPERANDS) or "f" in (kind_of(self), kind_of(other)) and function in (
                "add", "sub", "mul", "pow"):
            return plain(self, other)
        return getattr(F,
                       function)(*(alike(function, other, self) if swapped else alike(function, self, other)))
    of.__name__ = name
    return of


for _name, _function in (("add", "add"), ("sub", "sub"), ("mul", "mul"), ("pow", "pow"),
                         ("floordiv", "floor_divide"), ("mod", "remainder")):
    for _called in (f"__{_name}__", f"__r{_name}__"):
        setattr(Traced, _called,
                operator(_called, getattr(Tensor, _called), _function, _called.startswith("__r")))


def tracing() -> bool:
    """Whether a model is being traced."""
    return _tracer.get() is not None


def specialised(value: Traced) -> bool:
    """Whether a Program is better made for what this value is than for all that it may be: it comes
    from flags and counts alone, single inputs that are whole or true, and other inputs are what is
    computed with."""
    tracer = _tracer.get()
    if tracer is None:
        return False
    found = tracer.sources(value.value)
    return found < tracer.top.inputs and all(v.size == 1 and v.dtype.kind in "iub" for v in found)


def origins(value: Value) -> set[Value]:
    """The inputs of the graph that a value is computed from."""
    found, seen, left = set(), set(), [value]
    while left:
        value = left.pop()
        if value in seen:
            continue
        seen.add(value)
        if value.node is None:
            found.add(value)
        else:
            left += value.node.values()
    return found


def node_input(op, position, value, kind):
    if value is None:
        return None
    if isinstance(value, Traced):
        return value.value
    array = as_array(op, position, value.data if isinstance(value, Tensor) else value)
    if position == 1 and op.name == "linear" and array.dtype == FLOAT and array.ndim == 2:
        return array   # a turned one is packed from where it lies: a graph that is kept holds no copy
    if kind in "ro" and array.dtype == FLOAT and array.flags.c_contiguous and borrowed(array):
        return array   # wherever it lies
    return ready_one(op, position, array, kind)


def as_index(value):
    """A traced value that names places, in the type that kernels of indices take."""
    if isinstance(value, Traced) and value.dtype != INDEX and value.dtype.kind in "iu":
        return OPS["cast"](value, dtype=INDEX)
    return value


def refuse_what_programs_cannot(op, node: Node, kinds: str) -> None:
    """Glue checks indices and draws seeds in every eager call; a program runs kernels alone, so
    neither can be left to it."""
    for value, kind in zip(node.inputs, kinds):
        if value is None:
            continue
        if isinstance(value, Value) and kind in "ij" and not op.checks_indices:
            raise TraceError(
                f"{op.name}: its kernels cannot check indices given at run time, {value!r} at {node.where}")
        if kind in "ij" and value.dtype != INDEX:
            raise TraceError(f"{op.name}: takes whole numbers, got {value.dtype} at {node.where}")
        if kind in "ro" and value.dtype not in (FLOAT, DOUBLE):
            raise TraceError(f"{op.name}: takes float32 or float64, got {value.dtype} at {node.where}; "
                             "convert it with .astype")
    reals = {value.dtype for value, kind in zip(node.inputs, kinds) if value is not None and kind in "ro"}
    if len(reals) > 1:
        raise TraceError(f"{op.name}: inputs must share one dtype, got {', '.join(sorted(map(str, reals)))} "
                         f"at {node.where}")
    if op.random:
        raise TraceError(f"{op.name}: a compiled program would drop the same values in every run, at "
                         f"{node.where}; compile with training=False")


SHAPE_KERNELS = {real: ShapeKernels(real) for real in DTYPES}


def infer(op, node: Node, vary: bool = True):
    """What the op would return, in shape and type; for the example's sizes, where they vary."""
    if vary:
        return inferred(op, node, None)
    return op.forward(SHAPE_KERNELS[real_of(node)],
                      *[stand_in(v.shape, v.dtype) if isinstance(v, Value) else v for v in node.inputs],
                      **node.attrs)


def inferred(op, node: Node, numbers):
    """The same for sizes whose formulas come to `numbers`; None: those of the example."""
    return op.forward(ShapeKernels(real_of(node)),
                      *(blank_input(at(v.shape, numbers), v.dtype) if isinstance(v, Value) else v
                        for v in node.inputs),
                      **at(node.attrs, numbers))


def shapes_of(op, node: Node, results, formulas: Formulas | None) -> list[tuple]:
    """Shapes of the results, with formulas where those of the inputs have some: by the row's rule,
    or, where it has none, whatever its glue will say."""
    plain = [tuple(r.shape) for r in results]
    shapes = [None if v is None else v.shape for v in node.inputs]
    if formulas is None or not symbolic(shapes) and not symbolic(node.attrs):
        return plain
    rule = op.shapes or (broadcast if op.pointwise else None)
    if rule is not None:
        if op.shapes and op.check:   # what it refuses is a guard; the rule refuses what does not broadcast
            op.check(*(ShapeOf(v.shape, v.dtype) if isinstance(v, Value) else v for v in node.inputs), **node.attrs)
        found = list(rule(*shapes, **node.attrs))
        if [at(shape, None) for shape in found] == plain:
            return found
    # a copy: passes change the node
    asked = Node(op.name, [Value(v.shape, v.dtype) if isinstance(v, Value) else v for v in node.inputs],
                 node.attrs)
    sizes = unique_sizes((shapes, node.attrs))

    def glue(*numbers):
        said = inferred(op, asked, {size.place: number for size, number in zip(sizes, numbers)})
        return tuple(tuple(r.shape) for r in (said if isinstance(said, tuple) else (said,)))
    every = formulas.apply(glue, *sizes)
    return [tuple(formulas.apply(entry, every, i, axis) for axis in range(len(shape)))
            for i, shape in enumerate(plain)]


class ShapeOf:
    """A stand-in for an array, for checks of shapes."""

    def __init__(self, shape, dtype):
        self.shape, self.dtype = tuple(shape), dtype
        self.ndim, self.size, self.itemsize = len(shape), math.prod(shape), np.dtype(dtype).itemsize


def entry(shapes, i: int, axis: int) -> int:
    return shapes[i][axis]


def real_of(node: Node) -> str:
    """The element type of the kernels that the node calls: that of its floats."""
    return "f64" if DOUBLE in [v.dtype for v in node.inputs if v is not None] else "f32"


def caller() -> str:
    """file:line of the nearest frame outside of the package, or of the model
    definition inside it."""
    frame = sys._getframe(1)
    while frame is not None:
        if written_by_others(file := frame.f_code.co_filename):
            return f"{file}:{frame.f_lineno}"
        frame = frame.f_back
    return "?"


@lru_cache(1 << 10)
def written_by_others(file: str) -> bool:
    return not file.startswith(PACKAGE) or f"{PACKAGE}/models" in file


@contextmanager
def module_names(model, tracer: Tracer):
    """While the block runs, calls of the model's modules (those of pyops.nn) push
    their dotted names."""
    if not hasattr(model, "named_modules"):
        yield
        return
    names = {id(m): name for name, m in model.named_modules()}
    token = scope.watching.set(lambda module: tracer.within(names.get(id(module), type(module).__name__)))
    try:
        yield
    finally:
        scope.watching.reset(token)


def within(module: str) -> AbstractContextManager:
    """While the block runs, calls are of the module of this name."""
    tracer = _tracer.get()
    return nullcontext() if tracer is None else tracer.within(module)


def trace(model: Callable, example_inputs: tuple, arrange: Callable = lambda values: values,
          vary: tuple[Formulas, set[tuple[int, int]]] | None = None) -> tuple[Graph, object]:
    """The graph of model(*arrange(example_inputs)), and the structure of what the model
    returns (structure.py). vary: what keeps formulas, and the axes (input, axis) that vary."""
    from .counted import Counted
    tracer = Tracer()
    tracer.formulas, axes = vary or (None, set())
    inputs = [Value(tuple(tracer.formulas.symbol(n) if tracer.formulas and (i, axis) in axes else int(n)
                          for axis, n in enumerate(x.shape)), np.dtype(x.dtype), None, f"input{i}")
              for i, x in enumerate(example_inputs)]
    tracer.inputs.update(inputs)
    if tracer.formulas:
        tracer.formulas.as_value = lambda formula, shape, dtype: Traced(
            Value(tuple(shape), np.dtype(dtype), None, "constant", formula))
    token = _tracer.set(tracer)
    try:
        with module_names(model, tracer), no_grad():
            result = model(*arrange(tuple(map(Traced, inputs))))
    except (TypeError, ValueError) as why:
        # varying.py makes constants of these
        why.wanted = tuple(i for i, value in enumerate(inputs) if value in tracer.wanted)
        raise
    finally:
        _tracer.reset(token)
    outputs: list[Value] = []
    cuts: list[tuple[int, int, Value]] = []

    def take(leaf):
        if isinstance(leaf, Counted):
            cuts.append((len(outputs), leaf.axis, leaf.count.value))
            leaf = leaf.values
        if not isinstance(leaf, Traced):
            # an array that depends on no input is the result's as it is now, whatever becomes of the model's
            held = leaf.data if isinstance(leaf, Tensor) else leaf
            return "constant", np.array(held) if isinstance(held, np.ndarray) else held
        outputs.append(leaf.value)
        return len(outputs) - 1
    structure = flatten(result, take)
    counts = {count: len(outputs) + i for i, count in enumerate(dict.fromkeys(v for _, _, v in cuts))}
    outputs += counts
    if not outputs:
        raise TraceError(
            f"compile: the model returned {type(result).__name__}, nothing that depends on its inputs")
    graph = Graph(inputs, tracer.nodes, outputs)
    graph.cuts = [(output, axis, counts[count]) for output, axis, count in cuts]
    return graph, structure
