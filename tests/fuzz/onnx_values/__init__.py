"""One ONNX node with odd attributes and odd operands, against onnx's own reference in float64.

Operands are empty, scalars, of one, of the limits of their type, infinite; of every type that the
operator takes; axes count from behind. Real operands are given to the reference in float64, and its
result is rounded to the type asked for: it so is an oracle for half precision, too. Where the
reference differs from what torch and onnxruntime do, `known` says so.
"""
from __future__ import annotations

import warnings

import numpy as np
import onnx
from onnx import helper

import pyops.onnx as door

from . import (
    attention,
    elementwise,
    gather,
    normalisation,
    products,
    quantised,
    recurrent,
    reduction,
    resize,
    shape,
    text,
    windows,
)
from .draw import RECIPES, Draw
from .reference import compare, describe, expected, file, pooled

REFUSED = (door.ModelError,)
MEMORY = 2 << 30


def one(seed: int) -> None:
    """A random node, by run and, where it can be compiled, by load, against the reference."""
    draw = Draw(seed)
    op = draw.r.choice(sorted(RECIPES))
    attrs = RECIPES[op](draw, op)
    if attrs is None:
        return
    outputs = [f"o{i}" for i in range(draw.outputs)]
    node = helper.make_node(op, draw.names, outputs, **attrs)
    want = (
        pooled(draw, op, attrs)
        if op in ("MaxPool", "AveragePool", "LpPool")
        else expected(draw, node, outputs)
    )
    if want is None:
        return
    model = file(draw, node, outputs, lambda x: x)
    said = f"{op} {attrs} of {[(n and describe(draw, n)) for n in draw.names]}, operator set {draw.opset}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            got = list(door.run(model, draw.data).values())
        except door.ModelError as why:
            if "which it does not take" in str(why):  # the operator's text has no such type
                return
            raise AssertionError(f"refused: {why}: {said}") from why
        # a difference from a mean, over a deviation
        # The reference computes antialiased weights in float32.
        slack = 10.0 if op == "Resize" else 20.0 if op.endswith("Normalization") else 1.0
        compare(f"run, {said}", got, want, slack)
        if draw.data and all(x.dtype == np.float32 for x in draw.data.values()):
            try:
                program = door.load(model)
            except door.ModelError:
                return
            got = program(*draw.data.values())
            compare(f"Program, {said}", list(got) if isinstance(got, tuple) else [got], want, slack)


def prepare() -> None:
    warnings.simplefilter("ignore")
    onnx.defs.get_all_schemas()
