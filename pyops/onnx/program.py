"""From a model to a Program: its nodes are called one after the other, on traced values or on arrays."""
from __future__ import annotations

import numpy as np

from .. import graph
from ..graph.trace import Traced, within
from .model import Graph, Model, ModelError, read
from .ops import OPS
from .ops.row import Call, Unsupported


FOLDED = 4 << 30   # bytes of constants that nodes may compute, beyond twice what the file holds: few numbers can ask for many


def load(source, *, shapes: dict | None = None, precision: str = "default", threads: int | None = None):
    """A Program for an ONNX model. Results come as an array, or a tuple where the model has several outputs.

    source: a path, bytes, or a ModelProto. shapes: for each input whose shape the file leaves open, a tuple; an open first axis alone is taken as a
    batch, 1 until another comes. precision, threads: as in pyops.compile. Raises ModelError for a file that is no model, and for one that a Program
    cannot be made of, naming all unknown ops, or the node.
    """
    model = parsed(source)
    examples, dynamic = examples_of(model, shapes or {})
    try:
        return graph.compile(lambda *arrays: single(evaluate(model, arrays)), examples, precision, threads, dynamic_batch=dynamic)
    except Unsupported as why:
        raise ModelError(str(why)) from None
    except TypeError as why:
        raise ModelError(f"onnx: no Program can be made of it: {why}") from why


def run(source, inputs: dict) -> dict[str, np.ndarray]:
    """The outputs of a model by name, node by node and without compiling: for models of whole numbers, or whose shapes depend on numbers."""
    model = parsed(source)
    missing = [name for name in model.inputs if name not in inputs]
    if missing:
        raise ModelError(f"onnx: inputs {', '.join(missing)} are missing")
    return dict(zip(model.outputs, evaluate(model, [np.asarray(inputs[n]) for n in model.inputs])))


def parsed(source) -> Model:
    model = read(source, OPS)
    if model.unknown:
        raise ModelError(f"onnx: no counterpart here for {', '.join(sorted({str(n) for n in model.unknown}))} (operator set {model.opset})")
    return model


def single(results):
    return results[0] if len(results) == 1 else tuple(results)


def examples_of(model: Model, shapes: dict):
    """Zeros of the inputs' shapes, and whether the first axis may vary."""
    unknown = sorted(set(shapes) - set(model.inputs))
    if unknown:
        raise ModelError(f"onnx: the model has no input {', '.join(unknown)}; it has {', '.join(model.inputs)}")
    examples, dynamic = [], False
    for name, (dtype, shape) in model.inputs.items():
        if name in shapes:
            shape = tuple(shapes[name])
        elif shape is None or None in shape[1:]:
            raise ModelError(f"onnx: input {name!r} is of shape {shape}; give one: shapes={{{name!r}: (...)}}")
        elif shape and shape[0] is None:
            shape, dynamic = (1, *shape[1:]), True
        examples.append(np.zeros(shape, np.float32 if dtype is None else dtype))
    return tuple(examples), dynamic


def called(call: Call):
    """The row's results; values of half precision are computed in single where kernels do not take them."""
    halves = {np.dtype(v.dtype) for v in call.inputs if isinstance(v, np.ndarray) and v.dtype.name in ("float16", "bfloat16")}
    try:
        return OPS[call.node.op](call)
    except (TypeError, ValueError):
        if not halves:
            raise
    half, given = max(halves, key=lambda d: d.name), call.inputs
    call.inputs = [v.astype(np.float32) if isinstance(v, np.ndarray) and v.dtype in halves else v for v in given]
    results = OPS[call.node.op](call)
    call.inputs = given
    narrowed = [r.astype(half) if isinstance(r, np.ndarray) and r.dtype == np.float32 else r for r in (results if isinstance(results, (tuple, list)) else [results])]
    return tuple(narrowed)


def evaluate(graph: Graph, arrays, outer: dict | None = None) -> list:
    """The graph's outputs for these inputs. Values that depend on none of them are computed by the way."""
    values = {**(outer or {}), **graph.constants, **dict(zip(graph.inputs, arrays))}
    tracing = any(isinstance(a, Traced) for a in arrays)
    held, allowed = 0, FOLDED + 2 * sum(a.nbytes for a in graph.constants.values())
    for node in graph.nodes:
        call = Call(node, [values[i] if i else None for i in node.inputs], lambda body, given, scope=values: evaluate(body, given, scope))
        with within(node.name or node.outputs[0]):
            try:
                results = called(call)
            except Unsupported as why:
                raise Unsupported(f"onnx: {node}: {why}") from None
            except (ValueError, IndexError, KeyError, AttributeError, OverflowError, MemoryError) as why:
                raise ModelError(f"onnx: {node}: {why}") from why
            except TypeError as why:
                traced = any(isinstance(v, Traced) for v in call.inputs)
                raise (Unsupported if traced else ModelError)(f"onnx: {node}: {why}") from why
        results = results if isinstance(results, (tuple, list)) else (results,)
        held += sum(r.nbytes for r in results if tracing and isinstance(r, np.ndarray) and not isinstance(r.base, np.ndarray))
        if held > allowed:
            raise ModelError(f"onnx: {node}: constants computed so far take {held} bytes; at most {allowed} are kept")
        values.update((name, value) for name, value in zip(node.outputs, results) if name)
        absent = [o for o in node.outputs[len(results):] if o]
        if absent:
            raise Unsupported(f"onnx: {node}: output {absent[0]!r} is not computed here")
    return [values[name] for name in graph.outputs]
