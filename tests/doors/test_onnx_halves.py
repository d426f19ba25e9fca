"""ONNX files of float16 and bfloat16 are Programs whose operators are rounded once."""

import numpy as np
import pytest

from pyops.graph.program import Program

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, numpy_helper  # noqa: E402
from onnx_files import BFLOAT, FLOAT, HALF, file, floats, node, reference  # noqa: E402

import pyops.onnx as door  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")


def halves(code, dtype):
    w, b, g = (floats(*shape).astype(dtype) for shape in ((4, 3, 3, 3), (4,), (6,)))
    m = (floats(6, 6) / 3).astype(dtype)
    nodes = [
        node("Conv", "x w b", "c", pads=[1, 1, 1, 1]),
        node("Relu", "c", "r"),
        node("MatMul", "r m", "p"),
        node("Add", "p r", "s"),
        node("LayerNormalization", "s g g", "n"),
        node("Softmax", "n", "y"),
    ]
    constants = {"w": w, "b": b, "m": m, "g": g}
    return file(
        nodes,
        {"x": (code, (2, 3, 6, 6))},
        {"s": (code, None), "y": (code, None)},
        constants,
    )


def test_files_of_float16_are_programs():
    model, x = halves(HALF, np.float16), floats(2, 3, 6, 6).astype(np.float16)
    program = door.load(model)
    assert isinstance(program, Program)
    for got, want in zip(program(x), reference(model, x), strict=True):
        assert got.dtype == np.float16
        wide = want.astype(np.float64)
        # the reference rounds every step and sums 27 products in halves, we round operators' results
        assert np.abs(got - wide).max() <= 16 * 2.0**-11 * np.abs(wide).max()


def test_files_of_bfloat16_are_programs():
    bfloat16 = np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    model, x = halves(BFLOAT, bfloat16), floats(2, 3, 6, 6).astype(bfloat16)
    wide = file(
        [onnx.NodeProto.FromString(n.SerializeToString()) for n in model.graph.node],
        {"x": (FLOAT, (2, 3, 6, 6))},
        {"s": (FLOAT, None), "y": (FLOAT, None)},
        {i.name: numpy_helper.to_array(i).astype(np.float32) for i in model.graph.initializer},
    )
    program = door.load(model)
    assert isinstance(program, Program)
    for got, want in zip(program(x), reference(wide, x.astype(np.float32)), strict=True):
        assert got.dtype == bfloat16
        assert np.abs(got.astype(np.float64) - want).max() <= 16 * 2.0**-8 * np.abs(want).max()


@pytest.mark.parametrize("op", ["Add", "Mul", "Div", "Sqrt", "Exp", "Sigmoid", "Tanh", "Erf", "Neg", "Abs"])
def test_one_operator_of_halves_is_rounded_once(op):
    """As float64's result rounded to half: at most the next number off, where float32's
    own rounding tips it.
    """
    x, y = np.abs(floats(300)).astype(np.float16), (np.abs(floats(300, seed=5)) + 0.1).astype(np.float16)
    two = op in ("Add", "Mul", "Div")
    inputs = {"x": (HALF, (300,)), **({"y": (HALF, (300,))} if two else {})}
    model = file([node(op, "x y" if two else "x", "z")], inputs, {"z": (HALF, None)})
    given = (x, y) if two else (x,)
    wide = file(
        [node(op, "x y" if two else "x", "z")],
        {name: (TensorProto.DOUBLE, s) for name, (_, s) in inputs.items()},
        {"z": (TensorProto.DOUBLE, None)},
    )
    want = np.asarray(reference(wide, *(v.astype(np.float64) for v in given))).astype(np.float16)
    got = door.load(model)(*given)
    apart = np.abs(got.view(np.int16).astype(int) - want.view(np.int16).astype(int))
    assert got.dtype == np.float16 and apart.max() <= 1 and np.mean(apart > 0) < 0.01
