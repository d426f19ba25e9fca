"""Reading an ONNX file: everything is checked before anything is computed, and nothing is allocated
that the file does not hold.
"""

from __future__ import annotations

import math
import os
import sys
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from heapq import heappop, heappush
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from ..files.pieces import Mapped, borrowed
from ..files.watched import Watch
from . import apart
from .limits import brief, clipped, short

onnx.defs.has("")  # ONNX makes all its schemas when it is first asked: now, and not while a model is waited for

# Nodes that functions may come to when written out, in all and for each that the file holds, and
# calls within calls.
MOST, TIMES, DEEPEST = 10_000, 40, 100


class ModelError(ValueError):
    """The file is no model that can be run; names the node and the op where one is at fault."""


@dataclass(eq=False)
class Node:
    """A call. version: of the operator set it is written in."""

    op: str
    name: str
    inputs: list[str]
    outputs: list[str]
    attrs: dict
    version: int

    def __str__(self):
        made = repr(self.outputs[0]) if self.outputs else "without outputs"
        return f"{clipped(self.op)} {clipped(self.name or made)}"


@dataclass(eq=False)
class Graph:
    """inputs: name -> (dtype, shape), a dimension None where the file leaves it open; a whole shape
    None where it says nothing.

    nodes: each behind what it reads. last: for each node, the values that no later one reads.
    outside: values of the graphs around it.
    """

    inputs: dict
    constants: dict[str, np.ndarray]
    nodes: list[Node]
    outputs: list[str]
    outside: set[str] = field(default_factory=set)
    last: list[list[str]] = field(default_factory=list)


@dataclass(eq=False)
class Model(Graph):
    opset: int = 0
    unknown: list[Node] = field(default_factory=list)
    watches: list[Watch] = field(default_factory=list)   # of the maps that its constants lie in

    def intact(self) -> None:
        """ModelError where a file ended before what was read of it: those are zeros now."""
        if any(watch.cut for watch in self.watches):
            raise ModelError("onnx: a file of the model was cut short, or failed, while its arrays were read")

    def give_up(self) -> None:
        """Nobody will ask for its constants any more."""
        self.constants.clear()

    def keep(self) -> None:
        """Its constants are read now, to stay as they are whatever becomes of the files."""
        for name, array in self.constants.items():
            if borrowed(array):
                self.constants[name] = array.copy()
        self.intact()


def read(source, known) -> Model:
    """source: a path, bytes or a ModelProto. known: the op types that can be run; others are
    written out where ONNX defines them by known ones.
    """
    folder, proto = None, source
    if not isinstance(source, onnx.ModelProto):
        try:
            data = source if isinstance(source, bytes) else apart.parseable(Path(source))
        except apart.Cut:
            raise ModelError(f"onnx: {name_of(source)} was cut short, or failed, while it was read") from None
        folder = None if isinstance(source, bytes) else Path(source).resolve().parent
        proto = onnx.ModelProto()
        try:
            proto.ParseFromString(data)
        except DecodeError as why:
            raise ModelError(f"onnx: {name_of(source)} is truncated or no ONNX file: {why}") from None
        del data   # the model has a copy, and its arrays will be another
    opset = opset_of(proto)
    bounded(proto)
    proto = written_out(proto, known, opset)
    with Beside(folder) as beside:
        graph = graph_of(proto.graph, opset, beside)
    if graph.outside:
        name = min(graph.outside)
        reader = next((n for n in graph.nodes if name in needs(n)), f"graph {clipped(proto.graph.name)!r}")
        raise ModelError(f"onnx: {reader}: input {clipped(name)!r} is made by no node and is no input")
    return Model(
        graph.inputs,
        graph.constants,
        graph.nodes,
        graph.outputs,
        set(),
        graph.last,
        opset,
        [n for n in every(graph.nodes) if n.op not in known],
        beside.watches(),
    )


class Beside:
    """The files of a folder that a model's arrays lie in, while it is read: one of them is open, and some
    are mapped, as a folder may have more than a process may open.
    """

    MOST_MAPS = 64

    def __init__(self, folder: Path | None):
        self.folder = folder
        self.last: tuple[str, tuple[Path, BinaryIO, int]] | None = None
        self.maps: dict[str, Mapped | None] = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.last is not None:
            self.last[1][1].close()

    def watches(self) -> list[Watch]:
        return [mapped.map.watch for mapped in self.maps.values() if mapped is not None]

    def file(self, location: str, name: str) -> tuple[Path, BinaryIO, int]:
        """Its path, the file and its size."""
        if self.last is not None and self.last[0] == location:
            return self.last[1]
        if self.folder is None:
            raise ModelError(
                f"onnx: tensor {name!r} lies in the file {clipped(location)!r}, but the model "
                f"was not read from a folder"
            )
        try:
            path = (self.folder / location).resolve()
            if not path.is_relative_to(self.folder):
                raise ModelError(
                    f"onnx: tensor {name!r} lies in {clipped(location)!r}, outside of the model's folder"
                )
            if not path.is_file():
                raise ModelError(f"onnx: tensor {name!r} lies in {clipped(location)!r}, which is missing")
            file = open(path, "rb", buffering=0)
        except ModelError:
            raise
        except (OSError, ValueError, RuntimeError) as why:  # no name of a file; links in a circle
            raise ModelError(
                f"onnx: tensor {name!r} lies in {clipped(location)!r}, which cannot be opened: {clipped(why, 200)}"
            ) from why
        self.__exit__()
        self.last = location, (path, file, os.fstat(file.fileno()).st_size)
        return self.last[1]

    def array(self, location: str, shape: tuple[int, ...], dtype: np.dtype, offset: int) -> np.ndarray | None:
        """A larger array in a map of the file that is open, all of which is there; None where it is to be
        read.
        """
        size = math.prod(shape) * dtype.itemsize
        if size < apart.LARGE or np.dtype(dtype.str) != dtype:  # NumPy's own types
            return None
        if location not in self.maps:
            if len(self.maps) >= self.MOST_MAPS:
                return None
            try:
                self.maps[location] = Mapped(self.last[1][1])
            except (OSError, ValueError):
                self.maps[location] = None
        mapped = self.maps[location]
        return None if mapped is None or offset + size > len(mapped.map) else mapped.array(shape, dtype, offset)


def every(nodes):
    """The nodes, those of subgraphs too."""
    for node in nodes:
        yield node
        for value in node.attrs.values():
            if isinstance(value, Graph):
                yield from every(value.nodes)


def name_of(source) -> str:
    return f"{len(source)} bytes" if isinstance(source, bytes) else str(source)


def opset_of(proto) -> int:
    newest = onnx.defs.onnx_opset_version()
    versions = [o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")]
    if not versions and proto.opset_import and all(n.domain not in ("", "ai.onnx") for n in proto.graph.node):
        return newest  # a model of other domains alone
    if not versions:
        raise ModelError("onnx: the model names no version of ONNX's operators (opset_import)")
    if not 1 <= versions[0] <= newest:
        raise ModelError(
            f"onnx: the model is of operator set {versions[0]}; the installed onnx knows 1 to {newest}"
        )
    return versions[0]


def bounded(proto) -> None:
    """Refuses functions that call themselves, or each other so often that the model written out
    would have far more nodes than the file.
    """
    bodies = {(f.domain, f.name): f.node for f in proto.functions}
    most = MOST + TIMES * (len(proto.graph.node) + sum(map(len, bodies.values())))
    counts: dict = {}

    def nodes_of(nodes, around: tuple) -> int:
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in around:
                raise ModelError(
                    f"onnx: {clipped(node.op_type)} {clipped(node.name or list(node.output))}: the "
                    f"function {clipped(node.domain)}.{clipped(node.op_type)} calls itself"
                )
            if key in bodies and key not in counts:
                if len(around) >= DEEPEST:
                    raise ModelError(
                        f"onnx: {clipped(node.op_type)} {clipped(node.name or list(node.output))}: "
                        f"functions call each other more than {DEEPEST} deep"
                    )
                counts[key] = nodes_of(bodies[key], (*around, key))
            total += counts.get(key, 1) + sum(
                nodes_of(g.node, around) for a in node.attribute for g in (a.g, *a.graphs) if g.node
            )
            if total > most:
                raise ModelError(
                    f"onnx: functions of the model, written out, come to {brief(total)} nodes or more; "
                    f"at most {most} are read"
                )
        return total

    if bodies:
        nodes_of(proto.graph.node, ())


def written_out(proto, known, opset):
    """The model with its own functions, and ONNX operators that are functions of others, in terms
    of their bodies.
    """
    try:
        if proto.functions:
            from onnx import inliner

            proto = inliner.inline_local_functions(proto)
        for _ in range(3):  # a body may call such functions again
            ops = {
                n.op_type
                for n in proto.graph.node
                if n.domain in ("", "ai.onnx") and n.op_type not in known and is_function(n.op_type, opset)
            }
            if not ops:
                break
            from onnx import inliner

            proto = with_types(proto)
            proto = inliner.inline_selected_functions(
                proto, [("", op) for op in ops], exclude=False, inline_schema_functions=True
            )
    except Exception as why:  # the checks that follow say it better, or there is nothing wrong
        if isinstance(why, ModelError):
            raise
    return proto


def with_types(proto):
    """The model with the types of its initializers said, without which the inliner does not know how to
    write out operators whose bodies depend on them.
    """
    proto = deepcopy(proto)

    def say(graph):
        said = {i.name for i in (*graph.input, *graph.value_info)}
        for tensor in graph.initializer:
            if tensor.name not in said:
                graph.value_info.append(
                    helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
                )
        for node in graph.node:
            for a in node.attribute:
                for body in (a.g, *a.graphs):
                    if body.node:
                        say(body)

    say(proto.graph)
    return proto


def is_function(op, opset) -> bool:
    try:
        schema = onnx.defs.get_schema(op, opset)
    except onnx.defs.SchemaError:
        return False
    return schema.has_function or schema.has_context_dependent_function


def graph_of(proto, opset, beside: Beside, depth: int = 0) -> Graph:
    """A graph with its nodes in an order in which they can run, whatever order the file has them
    in.
    """
    where = f"graph {clipped(proto.name)!r}"
    if depth > DEEPEST:
        raise ModelError(f"onnx: {where}: graphs lie in each other more than {DEEPEST} deep")
    if len(proto.sparse_initializer):
        raise ModelError(f"onnx: {where} has sparse initializers, which are not read")
    if bytes in {type(v.name) for v in (*proto.input, *proto.output, *proto.initializer)}:
        raise ModelError(f"onnx: {where} has a name that is no UTF-8")
    constants = {tensor.name: array_of(tensor, beside, depth == 0) for tensor in proto.initializer}
    inputs = {i.name: described(i) for i in proto.input if i.name not in constants}
    nodes = []
    for n in proto.node:
        node = Node(
            n.op_type if n.domain in ("", "ai.onnx") else f"{n.domain}.{n.op_type}",
            n.name,
            list(n.input),
            list(n.output),
            {},
            opset,
        )
        attributes = list(n.attribute)
        said = {*map(type, node.inputs), *map(type, node.outputs), *(type(a.name) for a in attributes)}
        if bytes in said or bytes in (type(n.op_type), type(n.domain), type(n.name)):
            raise ModelError(
                f"onnx: a node of {where} ({clipped(repr(n.op_type))}) has a name that is no UTF-8"
            )
        for a in attributes:
            if a.ref_attr_name:
                raise ModelError(
                    f"onnx: {node}: attribute {clipped(a.name)} refers to {clipped(a.ref_attr_name)} "
                    f"of a function, outside of one"
                )
            node.attrs[a.name] = attribute(node, a, opset, beside, depth)
        check_schema(node, attributes, opset)
        nodes.append(node)
    outputs = [o.name for o in proto.output]
    nodes, outside = ordered(nodes, {*inputs, *constants})
    made = {*inputs, *constants, *(v for n in nodes for v in n.outputs)}
    if depth == 0:
        for name in outputs:
            if name not in made or not name:
                raise ModelError(f"onnx: {where}: output {clipped(name)!r} is made by no node")
    outside.update(name for name in outputs if name not in made)
    return Graph(inputs, constants, nodes, outputs, outside, last_uses(nodes, {*inputs, *constants}, outputs))


def needs(node) -> list[str]:
    """The values that a node reads, those of its subgraphs among them."""
    found = [v for v in node.inputs if v]
    for value in node.attrs.values():
        if isinstance(value, (list, Graph)):
            for graph in value if isinstance(value, list) else (value,):
                if isinstance(graph, Graph):
                    found += graph.outside
    return found


def ordered(nodes, given: set):
    """The nodes, each behind those that make what it reads and else as they are, and the names that
    none of them makes. Kahn (1962).
    """
    maker = {}
    for node in nodes:
        for value in filter(None, node.outputs):
            if value in given or value in maker:
                raise ModelError(f"onnx: {node}: output {clipped(value)!r} is defined twice")
            maker[value] = node
    place = {id(node): i for i, node in enumerate(nodes)}
    readers: dict[int, list[int]] = {}
    waits, outside = [0] * len(nodes), set()
    for i, node in enumerate(nodes):
        for value in set(needs(node)):
            if value in maker:
                readers.setdefault(place[id(maker[value])], []).append(i)
                waits[i] += 1
            elif value not in given:
                outside.add(value)
    ready = [i for i, count in enumerate(waits) if not count]  # ascending, so already a heap
    order = []
    while ready:
        i = heappop(ready)
        order.append(i)
        for reader in readers.get(i, ()):
            waits[reader] -= 1
            if not waits[reader]:
                heappush(ready, reader)
    if len(order) < len(nodes):
        node = next(n for n, count in zip(nodes, waits) if count)
        value = next(v for v in needs(node) if v in maker)
        raise ModelError(
            f"onnx: {node}: input {clipped(value)!r} is made by a later node: the graph has a cycle"
        )
    return [nodes[i] for i in order], outside


def last_uses(nodes, given, outputs) -> list[list[str]]:
    """For each node the values made here that neither a later node nor the result needs."""
    seen = {*given, *outputs}
    last: list[list[str]] = []
    for node in reversed(nodes):
        ending = {v for v in (*needs(node), *node.outputs) if v and v not in seen}
        seen |= ending
        last.append(list(ending))
    return last[::-1]


def check_schema(node, attributes, opset) -> None:
    """Refuses an operator that its operator set does not have, and inputs, outputs and attributes
    that it does not take.
    """
    said = said_of(node.op, opset)
    if said is None:
        return  # unknown in every set: named with all others, once the file is read
    if not said.there:
        raise ModelError(f"onnx: {node}: operator set {opset} has no {node.op}")
    if said.deprecated:
        raise ModelError(f"onnx: {node}: operator set {opset} has no {node.op} any more")
    for what, count, (least, most) in (
        ("inputs", len(node.inputs), said.inputs),
        ("outputs", len(node.outputs), said.outputs),
    ):
        if not least <= count <= most:
            raise ModelError(
                f"onnx: {node}: has {count} {what}, takes {least if least == most else f'{least} to {most}'}"
            )
    if "" in node.inputs:
        for i, name in enumerate(node.inputs):
            formal, optional = said.formals[min(i, len(said.formals) - 1)]
            if not name and not optional:
                raise ModelError(f"onnx: {node}: input {i}, {formal}, is left out")
    if not said.required <= node.attrs.keys() <= said.attributes.keys():
        unknown = sorted(node.attrs.keys() - said.attributes.keys())
        missing = sorted(said.required - node.attrs.keys())
        raise ModelError(
            f"onnx: {node}: {'takes no' if unknown else 'needs'} attribute "
            f"{clipped(', '.join(unknown or missing))} (operator set {opset})"
        )
    for a in attributes:
        if a.type != said.attributes[a.name]:
            raise ModelError(
                f"onnx: {node}: attribute {a.name} is of type {a.type}, not "
                f"{schema_of(node.op, opset).attributes[a.name].type}"
            )


@dataclass(frozen=True)
class Said:
    """What an operator set says of an operator. Asking ONNX again for every node takes longer than all
    checks.
    """

    there: bool
    deprecated: bool = False
    inputs: tuple[int, int] = (0, 0)  # at least, at most
    outputs: tuple[int, int] = (0, 0)
    formals: tuple[tuple[str, bool], ...] = ()  # names, and whether they may be left out
    attributes: dict[str, int] = field(default_factory=dict)  # with their types
    required: frozenset[str] = frozenset()


@cache
def said_of(op, opset) -> Said | None:
    """None where no operator set has it."""
    if not onnx.defs.has(op):
        return None
    schema = schema_of(op, opset)
    if schema is None:
        return Said(False)
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    attributes = schema.attributes
    return Said(
        True,
        schema.deprecated,
        (schema.min_input, schema.max_input),
        (schema.min_output, schema.max_output),
        tuple((formal.name, formal.option == optional) for formal in schema.inputs),
        {name: int(a.type) for name, a in attributes.items()},
        frozenset(name for name, a in attributes.items() if a.required),
    )


@cache
def schema_of(op, opset):
    """What the operator set says of an operator; None where it has none."""
    try:
        return onnx.defs.get_schema(op, opset)
    except onnx.defs.SchemaError:
        return None


def attribute(node, a, opset, beside, depth):
    if (number := NUMBERS.get(a.type)) is not None:
        return number(a)
    if a.type == onnx.AttributeProto.GRAPH:
        return graph_of(a.g, opset, beside, depth + 1)
    if a.type == onnx.AttributeProto.GRAPHS:
        return [graph_of(g, opset, beside, depth + 1) for g in a.graphs]
    if a.type == onnx.AttributeProto.TENSOR:
        return array_of(a.t, beside)
    try:
        value = helper.get_attribute_value(a)
    except ValueError as why:
        raise ModelError(f"onnx: {node}: attribute {clipped(a.name)}: {clipped(why, 200)}") from None
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, (list, tuple)) or hasattr(value, "append"):
        return [v.decode(errors="replace") if isinstance(v, bytes) else v for v in value]
    return value


def described(value):
    """(dtype, shape) of a declared input. What is no tensor (a sequence, a map) has no dtype."""
    tensor = value.type.tensor_type
    if value.type.WhichOneof("value") != "tensor_type" or tensor.elem_type not in dtypes():
        return None, None
    # A negative length is an open one: older converters wrote -1.
    shape = (
        tuple(d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else None for d in tensor.shape.dim)
        if tensor.HasField("shape")
        else None
    )
    return dtypes()[tensor.elem_type], shape


@cache
def dtypes() -> dict:
    return {
        code: helper.tensor_dtype_to_np_dtype(code)
        for code in TensorProto.DataType.values()
        if code not in (TensorProto.UNDEFINED,)
    }


# Types whose numbers lie in a file as NumPy has them, and kinds of attributes that are what they are.
PLAIN = {
    code: np.dtype(name)
    for code, name in (
        (TensorProto.FLOAT, "<f4"), (TensorProto.DOUBLE, "<f8"), (TensorProto.INT64, "<i8"),
        (TensorProto.INT32, "<i4"), (TensorProto.INT8, "i1"), (TensorProto.UINT8, "u1"),
    )
} if sys.byteorder == "little" else {}
NUMBERS = {
    onnx.AttributeProto.INT: lambda a: a.i,
    onnx.AttributeProto.FLOAT: lambda a: a.f,
    onnx.AttributeProto.INTS: lambda a: list(a.ints),
    onnx.AttributeProto.FLOATS: lambda a: list(a.floats),
}


def array_of(tensor, beside: Beside | None, mapped: bool = False) -> np.ndarray:
    """A tensor of the file; ModelError where its shape asks for more or less than the file
    holds."""
    name, shape = clipped(tensor.name or "a constant"), tuple(tensor.dims)
    if tensor.data_type not in dtypes():
        raise ModelError(f"onnx: tensor {name!r} is of the unknown type {tensor.data_type}")
    if min(shape, default=0) < 0:
        raise ModelError(f"onnx: tensor {name!r} has the shape {short(shape)}")
    if tensor.data_location == TensorProto.EXTERNAL:
        return external(tensor, name, beside or Beside(None), mapped)
    if tensor.data_type == TensorProto.STRING:
        if math.prod(shape) != len(tensor.string_data):
            raise ModelError(
                f"onnx: tensor {name!r} of shape {short(shape)} has {len(tensor.string_data)} strings in the file"
            )
        return np.array([s.decode(errors="replace") for s in tensor.string_data], object).reshape(shape)
    count, raw, plain = math.prod(shape), tensor.raw_data, PLAIN.get(tensor.data_type)
    if raw and plain is not None and len(raw) == count * plain.itemsize and not tensor.HasField("segment"):
        return np.frombuffer(raw, plain).reshape(shape)
    stored = len(raw) or max(
        map(
            len,
            (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data),
        )
    )
    if count > 2 * 8 * max(stored, 1):  # no type packs more than two values into a byte
        raise ModelError(f"onnx: tensor {name!r} of shape {short(shape)} has {stored} bytes or values in the file")
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as why:
        raise ModelError(f"onnx: tensor {name!r} of shape {short(shape)}: {clipped(why, 200)}") from None


def external(tensor, name, beside: Beside, mapped: bool) -> np.ndarray:
    """A tensor kept in a file beside the model's; in a map of it where the model's own graph has it."""
    shape = tuple(tensor.dims)
    told = {e.key: e.value for e in tensor.external_data}
    location = told.get("location", "")
    path, file, size = beside.file(location, name)
    dtype = np.dtype(dtypes()[tensor.data_type])
    try:
        offset, length = (
            int(told.get("offset", 0)),
            int(told.get("length", math.prod(shape) * dtype.itemsize)),
        )
    except ValueError:
        raise ModelError(
            f"onnx: tensor {name!r} lies at offset {clipped(told.get('offset'))!r}, length "
            f"{clipped(told.get('length'))!r}"
        ) from None
    if length != math.prod(shape) * dtype.itemsize or offset < 0 or offset + length > size:
        raise ModelError(
            f"onnx: tensor {name!r} of shape {short(shape)} needs bytes {offset} to {offset + length} of "
            f"{path.name!r}, which has {size}"
        )
    found = beside.array(location, shape, dtype, offset) if mapped else None
    if found is None:
        found = np.empty(shape, dtype)
        file.seek(offset)
        if length and not read_whole(file, memoryview(found.reshape(-1).view(np.uint8))):
            raise ModelError(f"onnx: tensor {name!r}: {path.name!r} ended while it was read")
    return found


def read_whole(file: BinaryIO, room: memoryview) -> bool:
    """Whether there was as much to read as there is room."""
    while room and (count := file.readinto(room)):
        room = room[count:]
    return not room
