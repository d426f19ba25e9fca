"""A graph's nodes called one after the other, on arrays or on traced values: operands checked
against each operator's types, half precision widened and rounded, within the limits.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache

import numpy as np
import onnx
from onnx import TensorProto

from ..core.symbolic import at
from ..graph.trace import Traced, within
from ..ops.cast import CAST
from .limits import PER_ELEMENT, PER_NODE, PER_TRACED, Limits, clipped
from .model import Graph, ModelError, dtypes, every, schema_of
from .ops import OPS, counted
from .ops.lengths import settled
from .ops.row import KEEPS, Call, Unsupported
from .sizes import are_sizes, with_formulas
from .values import EMPTY, is_plain, kind, leaves, name_of

HALF = ("float16", "bfloat16")
ORDINARY = frozenset((np.ndarray, Traced, type(None)))   # operands that are no sequence, and know their lengths


def called(call: Call) -> tuple:
    """The row's results. Half precision is computed in single, and rounded where the operator's
    text gives a result the type of an input.
    """
    row, op, given = OPS[call.node.op], call.node.op, call.inputs
    if ORDINARY.issuperset(map(type, given)):   # as most are
        why, ordinary = looked_at(op, call.node.version, tuple([None if v is None else v.dtype for v in given]))
        if why:
            raise ValueError(why)
        if ordinary:
            return tuple(map(settled, several(row(call))))
    if any(map(are_sizes, given)):
        found = with_formulas(call, row)
        if found is not None:
            return several(found)
    check_types(call)
    if counted.counted(*given):
        return several(counted.called(call))
    halves = () if op in KEEPS else [i for i, v in enumerate(given) if is_half(v)]
    if not halves:
        return tuple(map(settled, several(row(call))))
    call.room((3, sum(given[i].size for i in halves)))
    call.inputs = [widened(v) if i in halves else v for i, v in enumerate(given)]
    results = several(row(call))
    with np.errstate(over="ignore"):
        return tuple(rounded(r, typed_by(call.node, i, given)) for i, r in enumerate(results))


@cache
def names_of_types() -> dict[str, str]:
    """NumPy's, by ONNX's in the text of operators."""
    return {
        f"tensor({TensorProto.DataType.Name(code).lower()})": np.dtype(dtype).name
        for code, dtype in dtypes().items()
    }


@cache
def typed(op: str, opset: int) -> list:
    """For each input of an operator the types that its newest text takes, the name of its type
    parameter, None for any, and whether it takes sequences or optional values.
    """
    schema = schema_of(op, onnx.defs.onnx_opset_version())
    schema = schema_of(op, opset) if schema is None or schema.deprecated else schema
    if schema is None:  # of another domain
        return []
    names = names_of_types()
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
            any(not t.startswith("tensor(") for t in formal.types),
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
        allowed, name, more = formals[min(i, len(formals) - 1)]
        plain = is_plain(value)
        if more if not plain else not allowed and more:  # rows check what is in them
            continue
        if not plain or name_of(value.dtype) not in allowed:
            raise ValueError(f"input {i} is of {kind(value)}, which it does not take")
        if name is not None and bound.setdefault(name, said := name_of(value.dtype)) != said:
            raise ValueError(f"inputs are of {bound[name]} and {kind(value)}, which should be one")


@lru_cache(1 << 12)
def looked_at(op: str, opset: int, dtypes: tuple) -> tuple[str, bool]:
    """Of operands of these types, None for one that is left out: what check_types would refuse, and whether
    the row may take them as they are. Where some are objects, that may be sizes, nothing is said."""
    names = [None if dtype is None else name_of(dtype) for dtype in dtypes]
    if "object" in names:
        return "", False
    formals, bound = typed(op, opset), {}
    for i, said in enumerate(names if formals else ()):
        allowed, name, more = formals[min(i, len(formals) - 1)]
        if said is None or more and not allowed:
            continue
        if said not in allowed:
            return f"input {i} is of {said}, which it does not take", False
        if name is not None and bound.setdefault(name, said) != said:
            return f"inputs are of {bound[name]} and {said}, which should be one", False
    return "", op in KEEPS or not any(name in HALF for name in names)


def is_half(value) -> bool:
    return value is not None and is_plain(value) and name_of(value.dtype) in HALF


def several(results) -> tuple:
    """Results as a tuple (a list is one, a sequence); NumPy's scalars, which it makes of arrays
    without axes, as arrays.
    """
    return tuple(
        np.asarray(r) if isinstance(r, np.generic) else r
        for r in (results if isinstance(results, tuple) else (results,))
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
        return next(v.dtype for v in given if is_half(v))
    formal, inputs = schema.outputs[min(i, len(schema.outputs) - 1)].type_str, schema.inputs
    for k, value in enumerate(given):
        if value is not None and inputs[min(k, len(inputs) - 1)].type_str == formal:
            return np.dtype(value.dtype) if is_half(value) else None
    return None


def evaluate(graph: Graph, arrays, outer: dict | None = None, limits: Limits | None = None) -> list:
    """The graph's outputs for these inputs. Values that depend on none of them are computed by the
    way; what no node reads any more is let go.
    """
    values = {**(outer or {}), **graph.constants, **dict(zip(graph.inputs, arrays))}
    if limits is None:
        limits = Limits(sum(a.nbytes for a in constants_of(graph)) + sum(bytes_of(a) for a in arrays))
        limits.give((*constants_of(graph), *(part for a in arrays for part in leaves(a))))

    def body_of(body, given):
        return evaluate(body, given, {name: values[name] for name in body.outside}, limits)

    with np.errstate(all="ignore"):
        for node, ending in zip(graph.nodes, graph.last):
            call = Call(node, [values[i] if i else None for i in node.inputs], body_of, limits)
            values.update(computed(call))
            del call
            for name in ending:
                values.pop(name, None)
    return [values[name] for name in graph.outputs]


def computed(call: Call) -> dict:
    """The results by name, within the limits. What operators refuse is a ModelError that names the
    node.
    """
    node, limits = call.node, call.limits
    with within(node.name or node.outputs[0]):
        try:
            limits.work(PER_NODE)
            results = {name: r for name, r in zip(node.outputs, called(call)) if r is not None}
            for result in results.values():
                count(result, limits)
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


def count(result, limits: Limits) -> None:
    """Takes a result from what may be done and held; a sequence's elements were mostly there before."""
    if type(result) is Traced:
        size = elements(result)
        limits.work(PER_TRACED + PER_ELEMENT * size)
        if limits.held + 4 * size > limits.memory:
            limits.room(result.shape)
        return
    if is_plain(result):
        limits.work(PER_ELEMENT * elements(result))
    elif result is not EMPTY:
        limits.work(PER_ELEMENT * (1 + len(result)))
    for part in leaves(result):
        limits.hold(part)


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
    return sum(elements(part) * np.dtype(part.dtype).itemsize for part in leaves(value))


def elements(value) -> int:
    """How many there are; of a size that varies, in the example."""
    return math.prod(at(value.shape, None))
