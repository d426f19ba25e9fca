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
from ..graph.trace import Traced, TraceError, within
from ..ops.cast import CAST
from .limits import MEMORY, PER_ELEMENT, PER_NODE, PER_TRACED, Limits, clipped, short
from .model import Graph, Model, ModelError, dtypes, every, read, schema_of
from .ops import OPS
from .ops.row import KEEPS, Call, Unsupported

HALF = ("float16", "bfloat16")


def load(source, *, shapes: dict | None = None, precision: str = "default", threads: int | None = None):
    """A Program for an ONNX model. Results come as an array, or a tuple where the model has several
    outputs.

    source: a path, bytes, or a ModelProto. shapes: for each input whose shape the file leaves open,
    a tuple; an open first axis alone is taken as a batch, 1 until another comes. precision,
    threads: as in pyops.compile. Raises ModelError for a file that is no model, and for one that a
    Program cannot be made of, naming all unknown ops, or the node.
    """
    model = parsed(source)
    examples, dynamic = examples_of(model, shapes or {})
    check_real(model)
    try:
        return graph.compile(
            lambda *arrays: single(evaluate(model, arrays)),
            examples,
            precision,
            threads,
            dynamic_batch=dynamic,
        )
    except TraceError as why:
        raise ModelError(f"onnx: no Program can be made of it: {clipped(why, 400)}") from why
    except MemoryError as why:
        raise ModelError("onnx: there is no memory for a Program of it") from why


def check_real(model: Model) -> None:
    """What a Program takes: arrays of numbers and truth values."""
    if not model.inputs:
        raise ModelError(
            "onnx: the model has no input, so a Program would have nothing to do; pyops.onnx.run computes it"
        )
    for name, (dtype, _) in model.inputs.items():
        if dtype is None or np.dtype(dtype).name not in ELEMENTS:
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
    arrays = [np.asarray(inputs[n]) for n in model.inputs]
    for (name, (dtype, shape)), array in zip(model.inputs.items(), arrays):
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
    return dict(zip(model.outputs, evaluate(model, arrays)))


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


def examples_of(model: Model, shapes: dict):
    """Zeros of the inputs' shapes, and whether the first axis may vary."""
    unknown = sorted(set(shapes) - set(model.inputs))
    if unknown:
        raise ModelError(
            f"onnx: the model has no input {short(unknown)[1:-1]}; it has {short(model.inputs)[1:-1]}"
        )
    examples, dynamic = [], False
    for name, (dtype, shape) in model.inputs.items():
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
