"""From a model to a Program: its nodes are called one after the other, on traced values or on
arrays.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import onnx
from onnx import TensorProto

from .. import graph
from ..core.dispatch import ELEMENTS
from ..graph.shared import Constants
from ..graph.trace import Traced, TraceError, within
from ..graph.varying import Varying, wanted_numbers
from ..ops.cast import CAST
from .limits import MEMORY, PER_ELEMENT, PER_NODE, PER_TRACED, Limits, clipped, short
from .model import Graph, Model, ModelError, dtypes, every, read, schema_of
from .ops import OPS
from .ops.row import KEEPS, Call, Unsupported

HALF = ("float16", "bfloat16")


def load(
    source,
    *,
    shapes: dict | None = None,
    constants: dict | None = None,
    precision: str = "default",
    threads: int | None = None,
):
    """A callable for an ONNX model, parsed once: arrays in, in the order of its inputs; results
    come as an array, or a tuple where the model has several outputs.

    A Program, where all sizes are known, or the first axis alone is open; a Varying, which makes
    Programs for the sizes that come, where others are open, or where the model computes with the
    numbers of an input (a rate, a count, an axis: those numbers are constants of a Program); a
    NodeByNode for what no Program holds, whose `left_out` says why.

    source: a path, bytes, or a ModelProto. shapes: for inputs whose shape the file leaves open, a
    tuple. constants: values of inputs that stay the same, by name; such an input is none any more.
    precision, threads: as in pyops.compile. Raises ModelError for a file that is no model, and for
    one with unknown ops, naming all.
    """
    model = parsed(source)
    known = bound(model, constants or {})
    check_names(model, shapes or {})
    check_inputs(model, known)
    maker = Maker(model, known, precision, threads)
    free = [name for name in model.inputs if name not in known]
    if any(name not in (shapes or {}) and is_open(model.inputs[name][1]) for name in free):
        return varying(model, free, shapes or {}, maker)
    examples, dynamic = examples_of(model, shapes or {}, free)
    try:
        return maker.program(examples, frozenset(), dynamic)
    except (TraceError, Unsupported) as why:
        if wanted_numbers(why, examples):
            return varying(model, free, shapes or {}, maker)
        return NodeByNode(model, known, clipped(why, 400))


class Maker:
    """Makes Programs of a model for sizes and numbers; their weights are shared."""

    def __init__(self, model: Model, known: dict, precision: str, threads: int | None):
        self.model, self.known = model, known
        self.precision, self.threads = precision, threads
        self.constants = Constants()

    def program(self, arrays: tuple, fixed: frozenset, dynamic: bool = False):
        """The Program for arrays like these of the inputs that are not known; those whose places
        are in `fixed` are constants of it. TraceError or Unsupported, with the places that are
        `wanted` as constants.
        """
        places = [i for i in range(len(arrays)) if i not in fixed]
        try:
            return graph.compile(
                lambda *free: single(evaluate(self.model, self.values(arrays, fixed, free))),
                tuple(arrays[i] for i in places),
                self.precision,
                self.threads,
                dynamic_batch=dynamic,
                shared=self.constants,
            )
        except (TypeError, ValueError) as why:
            why.wanted = tuple(places[i] for i in getattr(why, "wanted", ()))
            raise
        except MemoryError as why:
            raise ModelError("onnx: there is no memory for a Program of it") from why

    def values(self, arrays, fixed, free) -> list:
        """What the model's inputs are, in its order."""
        free, found = iter(free), iter(range(len(arrays)))
        values = []
        for name in self.model.inputs:
            if name in self.known:
                values.append(self.known[name])
                continue
            i = next(found)
            values.append(arrays[i] if i in fixed else next(free))
        return values

    def best(self, arrays: tuple, fixed: frozenset):
        """A Program, or where none can be made what runs node by node."""
        try:
            if len(fixed) == len(arrays):
                raise Unsupported("onnx: all its inputs say how to compute, and nothing what")
            return self.program(arrays, fixed)
        except (TraceError, Unsupported) as why:
            if wanted_numbers(why, arrays) - fixed:
                raise
            names = [name for name in self.model.inputs if name not in self.known]
            known = {**self.known, **{names[i]: arrays[i] for i in fixed}}
            return NodeByNode(self.model, known, clipped(why, 400))


def varying(model: Model, free: list, shapes: dict, maker: Maker) -> Varying:
    inputs = []
    for name in free:
        dtype, shape = model.inputs[name]
        shape = tuple(shapes[name]) if name in shapes else shape
        inputs.append((np.dtype(dtype), shape))
    return Varying(maker.best, inputs, [f"input {clipped(name)!r}" for name in free])


class NodeByNode:
    """A model that is no Program: its nodes are called one after the other. left_out: why."""

    def __init__(self, model: Model, known: dict, left_out: str):
        self.model, self.known, self.left_out = model, known, left_out

    def __call__(self, *arrays):
        free = [name for name in self.model.inputs if name not in self.known]
        if len(arrays) != len(free):
            raise TypeError(f"onnx: the model takes {len(free)} inputs {short(free)}, got {len(arrays)}")
        given = {**self.known, **{name: np.asarray(a) for name, a in zip(free, arrays)}}
        check_arrays(self.model, given)
        return single(evaluate(self.model, [given[name] for name in self.model.inputs]))

    def __repr__(self):
        return f"NodeByNode({self.left_out})"


def bound(model: Model, constants: dict) -> dict:
    """Values of inputs that stay the same, in the types of the file."""
    check_names(model, constants)
    known = {}
    for name, value in constants.items():
        dtype, shape = model.inputs[name]
        known[name] = np.asarray(value, dtype)
        if shape is not None and (
            len(shape) != known[name].ndim
            or any(want not in (None, have) for want, have in zip(shape, known[name].shape))
        ):
            raise ModelError(f"onnx: the constant for input {clipped(name)!r} has shape {known[name].shape}, "
                             f"the model takes {short(shape)}")
    return known


def check_names(model: Model, given) -> None:
    unknown = sorted(set(given) - set(model.inputs))
    if unknown:
        raise ModelError(
            f"onnx: the model has no input {short(unknown)[1:-1]}; it has {short(model.inputs)[1:-1]}"
        )


def is_open(shape) -> bool:
    """Whether more than the first axis of a shape is left open."""
    return shape is None or None in shape[1:]


def check_inputs(model: Model, known: dict) -> None:
    """What a Program takes: arrays of numbers and truth values, one at least."""
    if not set(model.inputs) - set(known):
        raise ModelError(
            "onnx: the model has no input, so a Program would have nothing to do; pyops.onnx.run computes it"
        )
    for name, (dtype, _) in model.inputs.items():
        if name not in known and dtype is None or dtype is not None and np.dtype(dtype).name not in ELEMENTS:
            raise ModelError(
                f"onnx: no Program can be made of it: input {clipped(name)!r} is {dtype or 'no tensor'}; "
                f"programs take {', '.join(sorted(ELEMENTS))}"
            )


def run(source, inputs: dict) -> dict[str, np.ndarray]:
    """The outputs of a model by name, node by node and without compiling: for models of whole
    numbers, or whose shapes depend on numbers.
    """
    model = parsed(source)
    missing = [name for name in model.inputs if name not in inputs]
    if missing:
        raise ModelError(f"onnx: inputs {short(missing)} are missing")
    given = {name: np.asarray(inputs[name]) for name in model.inputs}
    check_arrays(model, given)
    return dict(zip(model.outputs, evaluate(model, [given[name] for name in model.inputs])))


def check_arrays(model: Model, given: dict) -> None:
    """Refuses arrays of other types and shapes than the file says."""
    for name, (dtype, shape) in model.inputs.items():
        array = given[name]
        if (
            dtype is not None
            and array.dtype != dtype
            or shape is not None
            and (
                len(shape) != array.ndim
                or any(want not in (None, have) for want, have in zip(shape, array.shape))
            )
        ):
            raise ModelError(
                f"onnx: input {clipped(name)!r} is {dtype} "
                f"{short('any' if d is None else d for d in shape or ())}, "
                f"got {array.dtype} {array.shape}"
            )


def parsed(source) -> Model:
    model = read(source, OPS)
    if model.unknown:
        raise ModelError(
            f"onnx: no counterpart here for {short(sorted({str(n) for n in model.unknown}))[1:-1]} "
            f"(operator set {model.opset})"
        )
    return model


def single(results):
    return results[0] if len(results) == 1 else tuple(results)


def examples_of(model: Model, shapes: dict, free=None):
    """Zeros of the inputs' shapes (of those in `free`, None for all), and whether the first axis
    may vary.
    """
    check_names(model, shapes)
    examples, dynamic = [], False
    for name in model.inputs if free is None else free:
        dtype, shape = model.inputs[name]
        if name in shapes:
            shape = tuple(shapes[name])
        elif shape is None or None in shape[1:]:
            raise ModelError(
                f"onnx: input {clipped(name)!r} is of shape {'unknown' if shape is None else short(shape)}; "
                f"give one: shapes={{{clipped(name)!r}: (...)}}"
            )
        elif shape and shape[0] is None:
            shape, dynamic = (1, *shape[1:]), True
        dtype = np.dtype(np.float32 if dtype is None else dtype)
        if name not in shapes and math.prod(shape) * dtype.itemsize > MEMORY:
            raise ModelError(
                f"onnx: input {clipped(name)!r} of shape {short(shape)} takes more than {MEMORY} bytes; "
                f"if that is meant, say so: shapes={{{clipped(name)!r}: (...)}}"
            )
        examples.append(np.zeros(shape, dtype))
    return tuple(examples), dynamic


def random_inputs(model: Model, shapes: dict) -> dict[str, np.ndarray]:
    """Inputs by name, of seed 0: normal numbers; 0 and 1 of whole numbers and truth values, which
    index and mask everything. ModelError for a shape that is open and not among `shapes`.
    """
    rng = np.random.default_rng(0)
    zeros = zip(model.inputs, examples_of(model, shapes)[0])
    return {
        name: rng.standard_normal(z.shape).astype(z.dtype)
        if z.dtype.kind == "f"
        else rng.integers(0, 2, z.shape).astype(z.dtype)
        for name, z in zeros
    }


def called(call: Call) -> tuple:
    """The row's results. Half precision is computed in single, and rounded where the operator's
    text gives a result the type of an input.
    """
    row, op, given = OPS[call.node.op], call.node.op, call.inputs
    check_types(call)
    halves = (
        ()
        if op in KEEPS
        else [i for i, v in enumerate(given) if v is not None and np.dtype(v.dtype).name in HALF]
    )
    if not halves:
        return several(row(call))
    call.room((3, sum(given[i].size for i in halves)))
    call.inputs = [widened(v) if i in halves else v for i, v in enumerate(given)]
    results = several(row(call))
    with np.errstate(over="ignore"):
        return tuple(rounded(r, typed_by(call.node, i, given)) for i, r in enumerate(results))


@cache
def typed(op: str, opset: int) -> list:
    """For each input of an operator the types that its newest text takes, None for any, and the
    name of its type parameter.
    """
    schema = schema_of(op, onnx.defs.onnx_opset_version())
    schema = schema_of(op, opset) if schema is None or schema.deprecated else schema
    if schema is None:  # of another domain
        return []
    names = {
        f"tensor({TensorProto.DataType.Name(code).lower()})": np.dtype(dtype).name
        for code, dtype in dtypes().items()
    }
    last = schema.inputs[-1] if schema.inputs else None
    mixed = (
        last is not None
        and last.option == onnx.defs.OpSchema.FormalParameterOption.Variadic
        and not last.is_homogeneous
    )
    return [
        (
            {names[t] for t in formal.types if t in names},
            None if mixed and formal is last else formal.type_str,
        )
        for formal in schema.inputs
    ]


def check_types(call: Call) -> None:
    """Refuses operands of types that the operator does not take, and of two types where it takes
    one.
    """
    formals, bound = typed(call.node.op, call.node.version), {}
    for i, value in enumerate(call.inputs):
        if value is None:
            continue
        if not formals:
            return
        allowed, name = formals[min(i, len(formals) - 1)]
        kind = np.dtype(value.dtype).name
        if kind not in allowed:
            raise ValueError(f"input {i} is of {kind}, which it does not take")
        if name is not None and bound.setdefault(name, kind) != kind:
            raise ValueError(f"inputs are of {bound[name]} and {kind}, which should be one")


def several(results) -> tuple:
    """Results as a tuple; NumPy's scalars, which it makes of arrays without axes, as arrays."""
    return tuple(
        np.asarray(r) if isinstance(r, np.generic) else r
        for r in (results if isinstance(results, (tuple, list)) else (results,))
    )


def widened(value):
    return CAST(value, dtype=np.float32) if isinstance(value, Traced) else value.astype(np.float32)


def rounded(result, dtype):
    """A result as the half precision that it should have, None where it has another type."""
    if dtype is None:
        return result
    if isinstance(result, Traced):  # which a pass may take back where the next node widens it again
        return CAST(result, dtype=dtype, implied=True) if result.dtype == np.float32 else result
    return result.astype(dtype) if isinstance(result, np.ndarray) and result.dtype == np.float32 else result


def typed_by(node, i: int, given):
    """The half precision that output i has, by the schema: that of the first input of the same type
    parameter.
    """
    schema = schema_of(node.op, node.version)
    if schema is None:
        return next(v.dtype for v in given if v is not None and np.dtype(v.dtype).name in HALF)
    formal, inputs = schema.outputs[min(i, len(schema.outputs) - 1)].type_str, schema.inputs
    for k, value in enumerate(given):
        if value is not None and inputs[min(k, len(inputs) - 1)].type_str == formal:
            return np.dtype(value.dtype) if np.dtype(value.dtype).name in HALF else None
    return None


def evaluate(graph: Graph, arrays, outer: dict | None = None, limits: Limits | None = None) -> list:
    """The graph's outputs for these inputs. Values that depend on none of them are computed by the
    way; what no node reads any more is let go.
    """
    values = {**(outer or {}), **graph.constants, **dict(zip(graph.inputs, arrays))}
    if limits is None:
        limits = Limits(sum(a.nbytes for a in constants_of(graph)) + sum(bytes_of(a) for a in arrays))
        limits.give((*constants_of(graph), *arrays))
    for node, ending in zip(graph.nodes, graph.last):
        call = Call(
            node,
            [values[i] if i else None for i in node.inputs],
            lambda body, given, scope=values: evaluate(
                body, given, {name: scope[name] for name in body.outside}, limits
            ),
            limits,
        )
        for name, value in computed(call).items():
            values[name] = value
        del call
        for name in ending:
            values.pop(name, None)
    return [values[name] for name in graph.outputs]


def computed(call: Call) -> dict:
    """The results by name, within the limits. What operators refuse is a ModelError that names the
    node.
    """
    node, limits = call.node, call.limits
    with within(node.name or node.outputs[0]), np.errstate(all="ignore"):
        try:
            limits.work(PER_NODE)
            results = {name: r for name, r in zip(node.outputs, called(call)) if r is not None}
            for result in results.values():
                limits.work(PER_ELEMENT * result.size)
                if isinstance(result, Traced):
                    limits.work(PER_TRACED)
                    limits.room(result.shape)
                limits.hold(result)
        except ModelError as why:
            raise type(why)(located(node, why)) from None
        except (ValueError, IndexError, MemoryError) as why:
            raise ModelError(located(node, why)) from why
        except TypeError as why:  # what no kernel takes, and what no Program can be made of
            raise Unsupported(located(node, why)) from why
    absent = [name for name in node.outputs if name and name not in results]
    if absent:
        raise Unsupported(f"onnx: {node}: output {clipped(absent[0])!r} is not computed here")
    results.pop("", None)
    return results


def located(node, why) -> str:
    """What went wrong, with the node; as it is where a node of a subgraph is named already."""
    text = clipped(why, 400) if not isinstance(why, MemoryError) else f"no memory for it: {clipped(why, 200)}"
    return text if text.startswith("onnx: ") else f"onnx: {node}: {text}"


def constants_of(graph: Graph):
    """The arrays of the file, those of subgraphs and attributes among them."""
    yield from graph.constants.values()
    for node in every(graph.nodes):
        for value in node.attrs.values():
            if isinstance(value, np.ndarray):
                yield value
            elif isinstance(value, Graph):
                yield from value.constants.values()


def bytes_of(value) -> int:
    return value.size * np.dtype(value.dtype).itemsize
