"""Chains of ONNX operators behind a length that depends on data: as Programs beside the same nodes on
arrays, one after the other.

Each step takes what the one before made, (found, width) of floats or whole numbers, and some give results
besides. Either both ways give the same, or both refuse.
"""

from __future__ import annotations

import random

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import pyops
import pyops.onnx as door

REFUSED = ()
SHAPES = ((5, 7), (3, 4), (1, 6), (2, 1), (1, 1), (4, 4), (6, 20))
FAR = 1 << 40


class Chain:
    """A graph in the making: `at` is the name of the value that the next step takes."""

    def __init__(self, seed: int):
        self.draw = random.Random(seed)
        self.shape = self.draw.choice(SHAPES)
        self.nodes, self.constants, self.results = [], {}, []
        self.width, self.floats, self.count = 2, False, 0
        self.add("Greater", "x", self.known(np.float32(0.5)))
        self.add("NonZero", self.at)
        self.add("Transpose", self.at, perm=[1, 0])

    def known(self, value) -> str:
        name = f"k{len(self.constants)}"
        self.constants[name] = np.asarray(value)
        return name

    def add(self, op: str, *inputs: str, outputs: int = 1, **attrs) -> str:
        self.count += 1
        names = [f"v{self.count}{'abc'[i]}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attrs))
        self.at = names[0]
        return self.at

    def numbers(self, value):
        """A constant of the type at hand."""
        return self.known(np.asarray(value, np.float32 if self.floats else np.int64))

    def cast(self, floats: bool) -> str:
        self.floats = floats
        return self.add("Cast", self.at, to=TensorProto.FLOAT if floats else TensorProto.INT64)

    def places(self) -> str:
        """(found, 2) indices into x."""
        self.cast(False)
        self.add("Abs", self.at)
        self.add("Gather", self.at, self.known(np.array([0, self.width - 1])), axis=1)
        return self.add("Mod", self.at, self.known(np.array(self.shape)))

    # ---- steps

    def part(self):
        begin, end = self.draw.choice([(0, 3), (1, FAR), (-3, FAR), (0, -1), (2, 5), (-4, -1), (1, -1), (-FAR, 2)])
        self.add("Slice", self.at, *(self.known([v]) for v in (begin, end, 0)))

    def columns(self):
        index = [self.draw.randrange(-self.width, self.width) for _ in range(self.draw.randrange(1, 4))]
        self.add("Gather", self.at, self.known(np.array(index)), axis=1)
        self.width = len(index)

    def arithmetic(self):
        self.add(*self.draw.choice([("Mul", self.at, self.at), ("Neg", self.at), ("Abs", self.at),
                                    ("Sub", self.at, self.numbers(3))]))

    def other_type(self):
        self.cast(not self.floats)

    def chosen(self):
        value, zero = self.at, self.numbers([0])
        self.add("Where", self.add("Less", value, zero), zero, value)

    def below(self):
        parts = [self.at, self.numbers(np.ones((self.draw.choice((0, 1, 2)), self.width))), self.at]
        self.draw.shuffle(parts)
        self.add("Concat", *parts, axis=0)

    def beside(self):
        self.add("Concat", self.at, self.at, axis=1)
        self.width *= 2

    def reshaped(self):
        halves = self.width % 2 == 0 and self.draw.random() < 0.5
        self.width = self.width // 2 if halves else 1
        self.add("Reshape", self.at, self.known([-1, self.width]))

    def best(self):
        value, sums = self.at, self.add("ReduceSum", self.at, self.known([1]), keepdims=0)
        most = self.add("Min", self.add("Shape", sums), self.known([self.draw.choice((1, 2, 4))]))
        self.add("TopK", sums, most, outputs=2, largest=self.draw.choice((0, 1)))
        self.add("Gather", value, f"v{self.count}b", axis=0)

    def rows(self):
        self.add("Gather", self.places(), self.known(np.int64(0)), axis=1)
        self.add("Gather", "x", self.at, axis=0)
        self.width, self.floats = self.shape[1], True

    def values(self):
        self.add("Unsqueeze", self.add("GatherND", "x", self.places()), self.known([1]))
        self.width, self.floats = 1, True

    def put(self):
        before, floats = self.at, self.floats
        places = self.places()
        self.add("ScatterND", "x", places, self.add("GatherND", "x", places),
                 reduction=self.draw.choice(("none", "add", "max")))
        self.results.append(self.at)
        self.at, self.floats = before, floats

    def over_columns(self):
        self.add(self.draw.choice(("ReduceSum", "ReduceMax")), self.at, self.known([1]))
        self.width = 1

    def less_the_sum(self):
        value = self.at
        self.add("Sub", value, self.add("ReduceSum", value, self.known([0])))

    def counted(self):
        self.results.append(self.add("Shape", self.at))
        self.at = self.nodes[-1].input[0]

    def compressed(self):
        value = self.at
        self.add("Gather", value, self.known(np.int64(0)), axis=1)
        self.add("Greater", self.at, self.numbers(1))
        self.add("Compress", value, self.at, axis=0)

    def there_and_back(self):
        self.add("Squeeze", self.add("Unsqueeze", self.at, self.known([1])), self.known([1]))

    def twice(self):
        self.add("Tile", self.at, self.known([1, 2]))
        self.width *= 2

    def running(self):
        self.add("CumSum", self.cast(True), self.known(np.int64(self.draw.choice((0, 1)))))

    def one_more(self):
        value, shape = self.at, self.add("Shape", self.at)
        self.add("Add", self.add("Expand", self.numbers([[1]]), shape), value)

    def decided(self):
        """A branch by how many there are, with results of two lengths."""
        value = self.at
        few = self.add("Less", self.add("Size", value), self.known(np.int64(9)))
        name = f"b{self.count}"
        parts = [helper.make_node("Slice", [value, *(self.known([v]) for v in (0, 2, 0))], [f"{name}y"]),
                 helper.make_node("Identity", [value], [f"{name}n"])]
        bodies = [helper.make_graph([p], "b", [], [helper.make_tensor_value_info(p.output[0], 0, None)])
                  for p in parts]
        self.add("If", few, then_branch=bodies[0], else_branch=bodies[1])

    def repeated(self):
        """As many rounds as there are rows, at most three: sums of what a round adds."""
        value = self.add("Gather", self.add("Shape", self.at), self.known(np.int64(0)))
        rows = self.nodes[-2].input[0]
        self.add("Min", value, self.known(np.int64(3)))
        name = f"l{self.count}"
        body = helper.make_graph(
            [helper.make_node("Gather", [rows, "i"], [f"{name}r"], axis=0),
             helper.make_node("Identity", ["go"], [f"{name}g"])], "b",
            [helper.make_tensor_value_info("i", TensorProto.INT64, []),
             helper.make_tensor_value_info("go", TensorProto.BOOL, [])],
            [helper.make_tensor_value_info(f"{name}g", TensorProto.BOOL, []),
             helper.make_tensor_value_info(f"{name}r", 0, None)])
        self.add("Loop", self.at, self.known(np.array(True)), body=body)


STEPS = [step for name, step in vars(Chain).items()
         if callable(step) and name not in ("__init__", "known", "add", "numbers", "cast", "places")]


def model_of(seed: int):
    chain = Chain(seed)
    for _ in range(chain.draw.randrange(1, 7)):
        chain.draw.choice(STEPS)(chain)
    results = [*chain.results, chain.at]
    graph = helper.make_graph(
        chain.nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, chain.shape)],
        [helper.make_tensor_value_info(name, 0, None) for name in results],
        [numpy_helper.from_array(v, name) for name, v in chain.constants.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), results


def outcome(function):
    try:
        return function()
    except (ValueError, IndexError) as why:
        return why


def one(seed: int) -> None:
    model, results = model_of(seed)
    program = door.load(model)
    if isinstance(program, pyops.Program):
        program._native.poison()
    rng = np.random.default_rng(seed)
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    for scale in (1, 0, 50, -1):
        x = (rng.standard_normal(shape) * scale).astype(np.float32)
        x = np.abs(x) if scale < 0 else x
        want, got = outcome(lambda x=x: door.run(model, {"x": x})), outcome(lambda x=x: program(x))
        if isinstance(want, Exception) or isinstance(got, Exception):
            # a loop of no rounds collects nothing, and has no shape node by node
            assert isinstance(want, Exception) and (isinstance(got, Exception) or "no round" in str(want)), (want, got)
            continue
        for name, g in zip(results, got if isinstance(got, tuple) else (got,), strict=True):
            w = want[name]
            assert g.shape == w.shape and g.dtype == w.dtype, f"{g.dtype}{g.shape} for {w.dtype}{w.shape}"
            np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-4)
