"""ONNX files: the models of onnx's own tests with changes that a parser lets through, loaded,
compiled and run. A Program, results, or a ModelError, in ten seconds and two gigabytes.
"""

from __future__ import annotations

import math
import random
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, TensorProto, helper

import pyops.onnx as door

# IndexError: of an index that only the run sees, as numbers of the fuzzer may be
REFUSED = (door.ModelError, IndexError)
LARGEST_INPUT = 1 << 26  # bytes: who calls a model makes its inputs
NUMBERS = [
    0,
    1,
    2,
    3,
    5,
    7,
    8,
    16,
    17,
    100,
    1000,
    1 << 16,
    1 << 20,
    1 << 28,
    (1 << 31) - 1,
    1 << 31,
    (1 << 31) + 1,
]
NUMBERS += [1 << 32, 1 << 40, 1 << 62, (1 << 63) - 1]
WORDS = [
    "",
    "NOTSET",
    "SAME_UPPER",
    "SAME_LOWER",
    "VALID",
    "linear",
    "cubic",
    "nearest",
    "constant",
    "edge",
    "wrap",
    "reflect",
]
WORDS += [
    "none",
    "add",
    "mul",
    "max",
    "bidirectional",
    "reverse",
    "CRD",
    "align_corners",
    "tf_crop_and_resize",
    "x" * 5000,
    "ij,jk->ik",
]


@cache
def sources() -> list[bytes]:
    """Every model that comes with onnx and is small; VGG-19, whose weights are made as it loads,
    takes 20 GFLOP and is not.
    """
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = [
            case.model.SerializeToString() for case in collect_testcases(None) if case.model is not None
        ]
    folder = Path(onnx.__file__).parent / "backend/test/data"
    models += [
        file.read_bytes()
        for file in sorted(folder.rglob("*.onnx"))
        if file.stat().st_size < 200_000 and "vgg" not in file.name
    ]
    return sorted({m for m in models if len(m) < 200_000})


def number(r: random.Random) -> int:
    return r.choice(NUMBERS) * r.choice([1, 1, 1, -1])


def graphs(graph) -> list:
    """The graph and those within it."""
    found = [graph]
    for node in graph.node:
        for a in node.attribute:
            for inner in (a.g, *a.graphs):
                if inner.node:
                    found += graphs(inner)
    return found


def attributes(model) -> list:
    return [a for graph in graphs(model.graph) for node in graph.node for a in node.attribute]


def change_attribute(r, model):
    a = r.choice(attributes(model))
    if a.type == AttributeProto.INT:
        a.i = number(r)
    elif a.type == AttributeProto.INTS and a.ints:
        a.ints[r.randrange(len(a.ints))] = number(r)
    elif a.type == AttributeProto.FLOAT:
        a.f = r.choice([0.0, -1.0, 1e-30, 1e30, math.inf, math.nan])
    elif a.type == AttributeProto.STRINGS:
        a.strings[r.randrange(len(a.strings))] = r.choice(WORDS).encode()
    elif a.type == AttributeProto.STRING:
        a.s = r.choice(WORDS).encode()
    elif a.type == AttributeProto.TENSOR:
        change_tensor(r, a.t)


def resize_attribute(r, model):
    a = r.choice([a for a in attributes(model) if a.type == AttributeProto.INTS])
    if r.random() < 0.5 and a.ints:
        del a.ints[-1]
    else:
        a.ints.append(number(r))


def odd_attribute(r, model):
    """Dropped, of another type, twice, or unknown."""
    node = r.choice(model.graph.node)
    how = r.randrange(4)
    if how == 0 and node.attribute:
        del node.attribute[r.randrange(len(node.attribute))]
    elif how == 1 and node.attribute:
        r.choice(node.attribute).type = r.randrange(15)
    elif how == 2 and node.attribute:
        node.attribute.append(r.choice(node.attribute))
    else:
        known = (
            sorted(onnx.defs.get_schema(node.op_type).attributes) if onnx.defs.has(node.op_type) else ["axis"]
        )
        node.attribute.append(
            helper.make_attribute(
                r.choice([*known, "odd"]), r.choice([number(r), 1.5, "word", [number(r)] * 2])
            )
        )


def change_tensor(r, tensor):
    how = r.randrange(6)
    if how == 0 and tensor.dims:
        tensor.dims[r.randrange(len(tensor.dims))] = number(r)
    elif how == 1:
        tensor.dims.append(r.choice([0, 1, 2, number(r)]))
    elif how == 2 and tensor.dims:
        del tensor.dims[-1]
    elif how == 3:
        tensor.data_type = r.randrange(28)
    elif how == 4 and tensor.raw_data:
        tensor.raw_data = tensor.raw_data[: r.randrange(len(tensor.raw_data))]
    else:
        values(r, tensor)


def values(r, tensor):
    """Other numbers, of its own type."""
    kept = tensor.name
    try:
        array = onnx.numpy_helper.to_array(tensor).copy()
    except (ValueError, TypeError):
        return
    if array.size and array.dtype.kind in "iuf":
        for _ in range(r.randint(1, 3)):
            odd = (
                number(r)
                if array.dtype.kind != "f"
                else r.choice([0.0, math.inf, math.nan, -1.0, 1e30, 0.5, float(number(r))])
            )
            info = np.iinfo(array.dtype) if array.dtype.kind in "iu" else None
            array.reshape(-1)[r.randrange(array.size)] = (
                odd if info is None else min(max(odd, info.min), info.max)
            )
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, kept))


def change_initializer(r, model):
    change_tensor(r, r.choice(r.choice([g for g in graphs(model.graph) if g.initializer]).initializer))


def fixed_input(r, model):
    """An input becomes a constant of the file: shapes, axes and indices then are known while
    compiling.
    """
    value = r.choice(model.graph.input)
    kind = value.type.tensor_type
    shape = [d.dim_value if 0 <= d.dim_value < 100 else 1 for d in kind.shape.dim]
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
    if dtype.kind == "O":
        return
    array = np.full(shape, 0, dtype)
    if dtype.kind in "iu":
        array = (
            np.array(
                [
                    r.choice([0, 1, 2, -1, number(r)]) % (1 << 8 * dtype.itemsize - 1)
                    for _ in range(array.size)
                ]
            )
            .reshape(shape)
            .astype(dtype)
        )
    model.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
    model.graph.input.remove(value)


def change_input(r, model):
    kind = r.choice(model.graph.input).type.tensor_type
    dims = kind.shape.dim
    how = r.randrange(5)
    if how == 0 and dims:
        r.choice(dims).dim_value = r.choice([0, 1, 2, 5, -1, number(r)])
    elif how == 1:
        dims.add().dim_value = r.choice([0, 1, 2, 3])
    elif how == 2 and dims:
        del dims[-1]
    elif how == 3:
        kind.elem_type = r.randrange(28)
    else:
        kind.ClearField("shape")


def rewire(r, model):
    graph = r.choice(graphs(model.graph))
    node = r.choice(graph.node)
    names = [
        "",
        "nowhere",
        *(v.name for v in graph.input),
        *(t.name for t in graph.initializer),
        *(o for n in graph.node for o in n.output),
    ]
    how = r.randrange(5)
    if how == 0 and node.input:
        node.input[r.randrange(len(node.input))] = r.choice(names)
    elif how == 1:
        node.input.append(r.choice(names))
    elif how == 2 and node.input:
        del node.input[-1]
    elif how == 3 and node.output:
        node.output[r.randrange(len(node.output))] = r.choice([*names, "new"])
    else:
        node.output.append(r.choice([*names, "new"]))


def rearrange(r, model):
    """Nodes in another order, twice, or gone."""
    graph = model.graph
    nodes = list(graph.node)
    how = r.randrange(3)
    if how == 0:
        r.shuffle(nodes)
    elif how == 1:
        nodes.insert(r.randrange(len(nodes)), r.choice(nodes))
    else:
        del nodes[r.randrange(len(nodes))]
    del graph.node[:]
    graph.node.extend(nodes)


def other_operator(r, model):
    node = r.choice(r.choice(graphs(model.graph)).node)
    node.op_type = r.choice(known_operators())
    if r.random() < 0.5:
        del node.attribute[:]


@cache
def known_operators() -> list[str]:
    from pyops.onnx.ops import OPS

    return sorted(OPS)


def behind(r, model):
    """An operator more behind an output, which may enlarge it."""
    last = r.choice(model.graph.output)
    name = "behind"
    op = r.choice(
        [
            "Tile",
            "Expand",
            "Pad",
            "ConstantOfShape",
            "Range",
            "EyeLike",
            "OneHot",
            "MatMul",
            "Add",
            "Cast",
            "Resize",
            "Gather",
            "Concat",
        ]
    )
    size = r.choice([3, 100, 1 << 12, 1 << 16, 1 << 20, 1 << 24, 1 << 30, 1 << 40])
    rank = max(len(last.type.tensor_type.shape.dim), 1)
    numbers = {
        "Tile": [size] + [1] * (rank - 1),
        "Expand": [size] + [1] * rank,
        "Pad": [size] + [0] * (2 * rank - 1),
        "ConstantOfShape": [size, 2],
    }.get(op, [size])
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(numbers, np.int64), "numbers"))
    if op in ("ConstantOfShape", "EyeLike"):
        inputs = ["numbers"]
    elif op in ("Range", "OneHot"):
        inputs = ["numbers"] * 3
    elif op in ("MatMul", "Add", "Concat"):
        inputs = [last.name] * 2
    elif op == "Cast":
        inputs = [last.name]
    elif op == "Resize":
        inputs = [last.name, "", "", "numbers"]
    else:
        inputs = [last.name, "numbers"]
    attrs = {"Cast": {"to": r.randrange(20)}, "Concat": {"axis": r.choice([0, -1, 5])}}.get(op, {})
    for _ in range(r.choice([1, 1, 3])):
        model.graph.node.append(helper.make_node(op, inputs, [name], **attrs))
        inputs, name = [name, *inputs[1:]], name + "'"
    last.name = model.graph.node[-1].output[0]
    last.type.Clear()


def doubled(r, model):
    """Functions that call each other: few bytes, many nodes."""
    depth = r.choice([2, 5, 10, 14, 17, 40])
    sets = [*model.opset_import, helper.make_opsetid("own", 1)]
    for i in range(depth):
        inner = [
            helper.make_node(
                f"f{i + 1}" if i + 1 < depth else "Neg", [a], [b], domain="own" if i + 1 < depth else ""
            )
            for a, b in (("a", "t"), ("t", "b"))
        ]
        model.functions.append(helper.make_function("own", f"f{i}", ["a"], ["b"], inner, sets))
    model.opset_import.append(sets[-1])
    last = model.graph.output[0]
    model.graph.node.append(helper.make_node("f0", [last.name], ["doubled"], domain="own"))
    last.name = "doubled"


def version(r, model):
    model.opset_import[0].version = r.choice(
        [0, 1, 6, 7, 9, 10, 11, 12, 13, 17, 18, 21, 22, 24, 99, number(r)]
    )


def names(r, model):
    model.graph.node[0].name = r.choice(["n" * 100_000, "\0", "é" * 300, "a/b"])
    if r.random() < 0.5:
        model.graph.output[0].name = "o" * 100_000


CHANGES = (
    [change_attribute] * 6
    + [change_input] * 3
    + [change_initializer] * 3
    + [fixed_input] * 4
    + [rewire] * 3
    + [behind] * 3
)
CHANGES += [
    resize_attribute,
    odd_attribute,
    rearrange,
    other_operator,
    other_operator,
    doubled,
    version,
    version,
    names,
]


def make(seed: int) -> bytes:
    """One of onnx's models with one to four changes; some are cut or have bytes changed instead."""
    r = random.Random(seed)
    data = r.choice(sources())
    model = onnx.ModelProto()
    model.ParseFromString(data)
    for _ in range(r.choice([1, 1, 2, 2, 3, 4])):
        try:
            r.choice(CHANGES)(r, model)
        # nothing of the sort to change
        except (IndexError, ValueError, TypeError, KeyError, OverflowError):
            continue
    data = model.SerializeToString()
    if r.random() < 0.06 and data:
        damaged = bytearray(data)
        for _ in range(r.randint(1, 8)):
            damaged[r.randrange(len(damaged))] = r.randrange(256)
        data = bytes(damaged[: r.randrange(1, len(damaged) + 1)] if r.random() < 0.3 else damaged)
    return data


def attempt(data: bytes) -> None:
    """Loads and runs the model, as a Program and node by node. Refused, where it is by both."""
    refusals = []
    warnings.simplefilter("ignore")
    inputs = given(data)
    for way in (compiled, evaluated):
        try:
            way(data, inputs)
        except door.ModelError as why:
            assert len(str(why)) < 1000, f"a message of {len(str(why))} characters: {str(why)[:200]}"
            refusals.append(why)
    if len(refusals) == 2:
        raise refusals[1]


def compiled(data, inputs) -> None:
    program = door.load(data)
    if inputs is not None:
        program(*inputs.values())


def evaluated(data, inputs) -> None:
    if inputs is not None:
        door.run(data, inputs)


def given(data: bytes) -> dict | None:
    """Inputs as the file declares them, open lengths as 1; None where it declares none that one
    would make.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        return {}
    rng = np.random.default_rng(0)
    inputs, constants = {}, {t.name for t in model.graph.initializer}
    for value in model.graph.input:
        kind = value.type.tensor_type
        if value.name in constants:
            continue
        shape = [
            d.dim_value if d.dim_value > 0 or d.HasField("dim_value") and d.dim_value == 0 else 1
            for d in kind.shape.dim
        ]
        if (
            kind.elem_type in (TensorProto.UNDEFINED, TensorProto.STRING)
            or kind.elem_type not in TensorProto.DataType.values()
        ):
            return None
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type))
        if math.prod(n or 1 for n in shape) * max(dtype.itemsize, 8) > LARGEST_INPUT or len(shape) > 64:
            return None
        inputs[value.name] = (
            (rng.standard_normal(shape) * 2).astype(dtype)
            if dtype.kind not in "c"
            else np.zeros(shape, dtype)
        )
    return inputs


def one(seed: int) -> None:
    attempt(make(seed))


def collect() -> None:
    sources()
    known_operators()
