"""Random shapes, operands and attributes, and the table of recipes: operator -> what draws a node of it."""

from __future__ import annotations

import random

import numpy as np
from onnx import TensorProto, helper

HALF = ("float16", "bfloat16")
BFLOAT16 = np.dtype(helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16))
FLOATS = [np.dtype(t) for t in ("float32", "float32", "float32", "float64", "float16")] + [BFLOAT16]
INTS = [np.dtype(t) for t in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")]


class Draw:
    """Random shapes and operands, and the node they come to."""

    def __init__(self, seed: int):
        self.r, self.n = random.Random(seed), np.random.default_rng(seed)
        self.data: dict[str, np.ndarray] = {}  # given at run time
        self.constants: dict[str, np.ndarray] = {}
        self.names: list[str] = []
        self.opset, self.outputs = self.r.choice([21, 22, 20, 19]), 1
        self.finite = False  # operands are

    def chance(self, p: float) -> bool:
        return self.r.random() < p

    def pick(self, *values):
        return self.r.choice(values)

    def shape(self, least=0, most=4, empty=0.08, longest=6) -> tuple[int, ...]:
        n = self.r.randint(least, most)
        return tuple(0 if self.chance(empty) else self.pick(1, *range(1, longest + 1)) for _ in range(n))

    def broadcasting(self, shape) -> tuple[int, ...]:
        """A shape that broadcasts with another."""
        cut = self.r.randint(0, len(shape)) if self.chance(0.4) else 0
        return tuple(1 if self.chance(0.3) else s for s in shape[cut:])

    def axis(self, n: int) -> int:
        return self.r.randrange(-n, n) if n else 0

    def values(self, shape, dtype) -> np.ndarray:
        dtype = np.dtype(dtype)
        if dtype == bool:  # noqa: E721
            return self.n.random(shape) < 0.5
        if dtype.kind in "iu":
            info = np.iinfo(dtype)
            x = self.n.integers(max(info.min, -9), 10, shape).astype(dtype)
            odd = self.n.random(shape) < (0.1 if self.chance(0.3) else 0)
            return np.where(odd, self.n.choice(np.array([info.min, info.max], dtype), shape), x)
        scale = 100.0 if self.chance(0.1) else 1.0
        x = np.asarray(self.n.standard_normal(shape) * scale)
        if self.chance(0.15) and not self.finite:
            odd = self.n.choice([0.0, 1.0, -1.0, 30.0, -30.0, 0.5, np.inf, -np.inf, np.nan], x.shape)
            x = np.where(self.n.random(shape) < 0.15, odd, x)
        return x.astype(dtype)

    def operand(self, shape, dtype, constant=0.15) -> np.ndarray:
        x = np.asarray(self.values(shape, dtype))
        return self.given(x, self.chance(constant))

    def given(self, x, constant=True) -> np.ndarray:
        name = f"i{len(self.names)}"
        (self.constants if constant else self.data)[name] = x = np.asarray(x)
        self.names.append(name)
        return x

    def absent(self) -> None:
        self.names.append("")

    def dtype(self, *kinds) -> np.dtype:
        return self.pick(*(d for k in kinds for d in {"f": FLOATS, "i": INTS, "b": [np.dtype(bool)]}[k]))


RECIPES: dict[str, callable] = {}


def recipe(*ops):
    def enter(function):
        RECIPES.update(dict.fromkeys(ops, function))
        return function

    return enter


def ints(values):
    return np.array(list(values), np.int64)
