"""What pyops.onnx.load makes of a file: Programs for sizes and numbers as they come, of halves and
of quantised operators, or node by node with a reason.
"""

import threading
from itertools import product

import numpy as np
import pytest

from pyops.graph.program import Program
from pyops.graph.shared import PROGRAMS
from pyops.graph.varying import MOST_NUMBERS, Varying

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

import pyops.onnx as door  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::DeprecationWarning")
FLOAT, HALF, BFLOAT, LONG, BYTE, CHAR, INT, BOOL = (
    getattr(TensorProto, name)
    for name in ("FLOAT", "FLOAT16", "BFLOAT16", "INT64", "UINT8", "INT8", "INT32", "BOOL")
)
CODES = {"uint8": BYTE, "int8": CHAR, "int32": INT, "float32": FLOAT, "int64": LONG}


def node(op, inputs, outputs, **attrs):
    return helper.make_node(op, inputs.split(), outputs.split(), **attrs)


def file(nodes, inputs, outputs, constants=None, opset=21):
    """A model: inputs and outputs by name, a type and a shape each."""
    infos = (
        [helper.make_tensor_value_info(name, *given) for name, given in some.items()]
        for some in (inputs, outputs)
    )
    held = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    domains = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(
        helper.make_graph(nodes, "g", *infos, held), opset_imports=domains, ir_version=10
    )


def floats(*shape, seed=0):
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(np.float32)


def reference(model, *arrays):
    found = ReferenceEvaluator(model).run(
        None, dict(zip([i.name for i in model.graph.input], arrays, strict=True))
    )
    return found[0] if len(found) == 1 else tuple(found)


def same(got, want):
    want = np.asarray(want)
    assert got.dtype == want.dtype and got.shape == want.shape, (got.dtype, got.shape, want.dtype, want.shape)
    np.testing.assert_array_equal(got, want)


# ---- sizes


def encoder(shape=("batch", "length")):
    """Embedded ids, a mask, and a softmax over what it lets through."""
    table, w = floats(40, 16), floats(16, 16) / 4
    nodes = [
        node("Gather", "table ids", "x"),
        node("MatMul", "x w", "q"),
        node("Transpose", "x", "t", perm=[0, 2, 1]),
        node("MatMul", "q t", "s"),
        node("Unsqueeze", "mask one", "m"),
        node("Where", "m s low", "a"),
        node("Softmax", "a", "p", axis=-1),
        node("MatMul", "p x", "y"),
    ]
    constants = {
        "table": table,
        "w": w,
        "one": np.array([1]),
        "low": np.array(-1e9, np.float32),
    }
    return file(
        nodes,
        {"ids": (LONG, shape), "mask": (BOOL, shape)},
        {"y": (FLOAT, (*shape, 16))},
        constants,
    )


def test_open_axes_take_what_comes():
    model = encoder()
    program = door.load(model)
    assert isinstance(program, Varying)
    rng = np.random.default_rng(0)
    for shape in ((1, 3), (2, 7), (5, 1), (2, 7)):
        ids, mask = (
            rng.integers(0, 40, shape),
            np.arange(shape[1]) < rng.integers(1, shape[1] + 1, (shape[0], 1)),
        )
        np.testing.assert_allclose(program(ids, mask), reference(model, ids, mask), atol=1e-5)
        assert isinstance(program.program_for(ids, mask), Program)
    assert program.programs == 3
    with pytest.raises(IndexError, match="index 40 is not one of 40"):
        program(np.full((2, 7), 40), np.ones((2, 7), bool))
    with pytest.raises(ValueError, match="input 'ids' is int64\\[3\\], the model takes int64 \\[any, any\\]"):
        program(np.zeros(3, np.int64), np.ones((2, 7), bool))


def test_shapes_that_are_given_make_one_program():
    program = door.load(encoder(), shapes={"ids": (2, 5), "mask": (2, 5)})
    assert isinstance(program, Program) and [s for s, _ in program.inputs] == [(2, 5)] * 2


def test_the_last_sizes_are_kept():
    program = door.load(file([node("Relu", "x", "y")], {"x": (FLOAT, (None, None))}, {"y": (FLOAT, None)}))
    for n in range(1, 3 * PROGRAMS):
        same(program(-np.ones((1, n), np.float32)), np.zeros((1, n), np.float32))
    assert program.programs == PROGRAMS


def test_an_unknown_rank_takes_any():
    model = file([node("Relu", "x", "y")], {"x": (FLOAT, None)}, {"y": (FLOAT, None)})
    program = door.load(model)
    for shape in ((), (3,), (2, 3, 4)):
        same(program(floats(*shape).reshape(shape)), np.maximum(floats(*shape).reshape(shape), 0))


def test_two_threads_ask_for_sizes_at_once():
    model = encoder()
    program = door.load(model)
    want = {n: reference(model, np.arange(n)[None], np.ones((1, n), bool)) for n in range(1, 13)}
    wrong = []

    def work(t):
        for i in range(24):
            n = 1 + (5 * i + 7 * t) % 12
            if not np.allclose(program(np.arange(n)[None], np.ones((1, n), bool)), want[n], atol=1e-5):
                wrong.append((t, n))

    threads = [threading.Thread(target=work, args=(t,)) for t in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong and program.programs <= PROGRAMS


# ---- numbers


def branching():
    """Twice x at a rate of 16000, minus x at any other."""
    bodies = {
        f"{how}_branch": helper.make_graph(
            [node(op, given, how)], how, [], [helper.make_tensor_value_info(how, FLOAT, (2, 3))]
        )
        for how, op, given in (("then", "Add", "x x"), ("else", "Neg", "x"))
    }
    nodes = [node("Equal", "sr rate", "c"), node("If", "c", "y", **bodies)]
    return file(
        nodes,
        {"x": (FLOAT, (2, 3)), "sr": (LONG, ())},
        {"y": (FLOAT, (2, 3))},
        {"rate": np.array(16000)},
    )


def test_a_number_chooses_a_branch():
    program, x = door.load(branching()), floats(2, 3)
    assert isinstance(program, Varying)
    for rate, want in ((16000, x + x), (8000, -x), (16000, x + x)):
        same(program(x, np.array(rate)), want)
        assert isinstance(program.program_for(x, np.array(rate)), Program)
    assert program.programs == 2 and program.fixed == {1}


NUMBERED = {  # operator: (inputs behind x, the numbers to try, attributes)
    "count": ("TopK", "k", [np.array([2]), np.array([3])], "v y"),
    "axis": ("CumSum", "k", [np.array(0), np.array(1), np.array(-1)], "y"),
    "axes": ("ReduceSum", "k", [np.array([0]), np.array([1]), np.array([0, 1])], "y"),
    "shape": ("Reshape", "k", [np.array([6, 4]), np.array([-1]), np.array([2, 2, 6])], "y"),
    "repeats": ("Tile", "k", [np.array([2, 1]), np.array([1, 3])], "y"),
    "pads": ("Pad", "k", [np.array([0, 1, 0, 1]), np.array([2, 0, 0, 0])], "y"),
    "expand": ("Expand", "k", [np.array([3, 4, 6]), np.array([4, 6])], "y"),
}


@pytest.mark.parametrize("name", NUMBERED)
def test_numbers_say_how_to_compute(name):
    op, given, numbers, outputs = NUMBERED[name]
    x = np.random.default_rng(1).permutation(24).reshape(4, 6).astype(np.float32)
    shape = () if numbers[0].ndim == 0 else (None,)
    model = file(
        [node(op, f"x {given}", outputs)],
        {"x": (FLOAT, (4, 6)), "k": (LONG, shape)},
        {"y": (LONG if op == "TopK" else FLOAT, None)},
    )
    program = door.load(model)
    for k in (*numbers, numbers[0]):
        same(program(x, k), reference(model, x, k))
        assert isinstance(program.program_for(x, k), Program)
    assert program.fixed == {1} and program.programs == len(numbers)


def test_constants_are_no_inputs():
    x = floats(2, 3)
    program = door.load(branching(), constants={"sr": 16000})
    assert isinstance(program, Program) and len(program.inputs) == 1
    same(program(x), x + x)
    same(door.load(branching(), constants={"sr": 1})(x), -x)
    with pytest.raises(door.ModelError, match="no input rates"):
        door.load(branching(), constants={"rates": 1})
    with pytest.raises(door.ModelError, match="has shape \\(2,\\)"):
        door.load(branching(), constants={"sr": [1, 2]})
    with pytest.raises(door.ModelError, match="has no input"):
        door.load(branching(), constants={"sr": 1, "x": x})


def test_many_numbers_are_no_constants():
    """Where values decide on a length: node by node, which says why."""
    nodes = [node("NonZero", "x", "i"), node("Transpose", "i", "y")]
    for shape in ((MOST_NUMBERS + 1,), (None,), (None, 2)):
        model = file(nodes, {"x": (FLOAT, shape), "z": (FLOAT, (2,))}, {"y": (LONG, None)})
        program = door.load(model)
        x = (np.arange((MOST_NUMBERS + 1) * len(shape)) % 3 > 0).astype(np.float32).reshape(-1, *shape[1:])
        z = np.zeros(2, np.float32)
        same(program(x, z), np.argwhere(x))
        used = program.program_for(x, z) if isinstance(program, Varying) else program
        assert isinstance(used, door.NodeByNode) and "NonZero" in used.left_out


def test_arrays_of_other_types_are_refused_node_by_node():
    model = file([node("NonZero", "x", "y")], {"x": (FLOAT, (99,))}, {"y": (LONG, None)})
    program = door.load(model)
    assert isinstance(program, door.NodeByNode)
    for x in (np.zeros(99), np.zeros(98, np.float32)):
        with pytest.raises(ValueError, match="input 'x' is float32"):
            program(x)
    with pytest.raises(TypeError, match="takes 1 inputs"):
        program()


# ---- halves


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


# ---- quantised operators


def whole(dtype, *shape, seed=0):
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed + sum(shape)).integers(limits.min, limits.max + 1, shape).astype(dtype)


def assert_rounded(got, exact, zero, dtype):
    """round(exact) + zero, cut to the type; where float32 may see a tie, the next number as
    well."""
    limits = np.iinfo(dtype)
    assert got.dtype == dtype and got.shape == exact.shape
    want = np.clip(np.rint(exact) + zero, limits.min, limits.max)
    near = np.abs(np.abs(exact - np.trunc(exact)) - 0.5) < 1e-4 * np.maximum(1, np.abs(exact) / 1e3)
    apart = np.abs(got.astype(np.int64) - want)
    assert np.all(apart[~near] == 0) and np.all(apart[near] <= 1), (apart.max(), near.mean())
    assert near.mean() < 0.05


def quantise(op, x, scale, zero, axis=1, **attrs):
    given = {"x": x, "s": scale, **({} if zero is None else {"z": zero})}
    code = CODES[x.dtype.name]
    out = CODES["uint8" if zero is None else zero.dtype.name] if op == "QuantizeLinear" else FLOAT
    constants = {name: value for name, value in given.items() if name != "x"}
    return file(
        [node(op, " ".join(given), "y", axis=axis, **attrs)],
        {"x": (code, x.shape)},
        {"y": (out, None)},
        constants,
    )


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16"])
def test_quantize_and_dequantize_linear(dtype):
    """Per tensor and along an axis: onnx's numbers, to the bit."""
    codes = {**CODES, "int16": TensorProto.INT16, "uint16": TensorProto.UINT16}
    for per_axis, axis in ((False, 1), (True, 1), (True, -1), (True, 0)):
        x = floats(4, 5, 6) * 40
        n = x.shape[axis]
        scale = (np.abs(floats(n)) + 0.1 if per_axis else np.array(0.37)).astype(np.float32)
        zero = whole(dtype, n) if per_axis else whole(dtype, 1).reshape(())
        for given, op in ((x, "QuantizeLinear"), (whole(dtype, 4, 5, 6), "DequantizeLinear")):
            out = codes[dtype] if op == "QuantizeLinear" else FLOAT
            model = file(
                [node(op, "x s z", "y", axis=axis)],
                {"x": (codes[given.dtype.name], given.shape)},
                {"y": (out, None)},
                {"s": scale, "z": zero},
            )
            program = door.load(model)
            assert isinstance(program, Program)
            same(program(given), reference(model, given))


def test_quantize_linear_at_the_edges():
    """Ties to even, what lies beyond the type, and infinities, of which the reference makes what a
    cast makes.
    """
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.5, 1e9, -1e9, np.inf, -np.inf], np.float32)
    for zero in (np.int8(0), np.int8(-100), np.uint8(3), None):
        model = quantise("QuantizeLinear", x, np.float32(1), None if zero is None else np.asarray(zero))
        got, limits = door.load(model)(x), np.iinfo(np.uint8 if zero is None else zero.dtype)
        same(got[:-2], reference(model, x)[:-2])
        assert got[-2:].tolist() == [limits.max, limits.min]


def test_dynamic_quantize_linear():
    model = file(
        [node("DynamicQuantizeLinear", "x", "y s z")],
        {"x": (FLOAT, (3, 50))},
        {"y": (BYTE, None), "s": (FLOAT, None), "z": (BYTE, None)},
    )
    program = door.load(model)
    assert isinstance(program, Program)
    for x in (floats(3, 50), np.abs(floats(3, 50)) + 1, -np.abs(floats(3, 50)), floats(3, 50) * 1e4):
        got, want = program(x), reference(model, x)
        same(got[1], want[1])
        same(got[2], want[2])
        apart = np.abs(got[0].astype(int) - want[0].astype(int))
        tie = np.abs(np.abs(x / want[1] - np.trunc(x / want[1])) - 0.5) < 1e-3
        assert np.all(apart[~tie] == 0) and apart.max() <= 1
    y, scale, zero = program(np.zeros((3, 50), np.float32))
    assert not y.any() and scale == 0 and zero == 0


def rows(zero):
    return None if zero is None else zero.astype(np.int64)[..., None] if np.ndim(zero) else int(zero)


@pytest.mark.parametrize("types", list(product(("uint8", "int8"), repeat=2)), ids="-".join)
@pytest.mark.parametrize("depth", [1, 7, 129, 258, 259, 600, 1500])
def test_matmul_integer(types, depth):
    """int32 sums without a rounding, however deep, with weights known and given."""
    one, other = types
    a, b = whole(one, 5, depth), whole(other, depth, 6, seed=1)
    a[0], b[:, 0] = np.iinfo(one).max, np.iinfo(other).max  # the greatest sums
    a[1], b[:, 1] = np.iinfo(one).min, np.iinfo(other).min
    zeros = {
        "none": (None, None),
        "one": (np.asarray(whole(one, 1)[0]), np.asarray(whole(other, 1)[0])),
        "extreme": (np.asarray(np.iinfo(one).min, one), np.asarray(np.iinfo(other).max, other)),
        "each": (whole(one, 5, seed=2), whole(other, 6, seed=3)),
    }
    for name, (za, zb) in zeros.items():
        names = "a b" if za is None else "a b za zb"
        constants = {} if za is None else {"za": za, "zb": zb}
        left = a.astype(np.int64) - (rows(za) or 0 if np.ndim(za) == 0 else rows(za))
        right = b.astype(np.int64) - (0 if zb is None else zb.astype(np.int64))
        want = (left @ right).astype(np.int32)
        for known in (False, True):
            inputs = {"a": (CODES[one], a.shape), **({} if known else {"b": (CODES[other], b.shape)})}
            model = file(
                [node("MatMulInteger", names, "y")],
                inputs,
                {"y": (INT, None)},
                {**constants, **({"b": b} if known else {})},
            )
            program = door.load(model)
            assert isinstance(program, Program), (name, program)
            same(program(a) if known else program(a, b), want)
            if name in ("none", "one"):
                same(want, reference(model, *((a,) if known else (a, b))))


def correlated(x, w, pads, strides, dilations, group):
    """The convolution of whole numbers, by its sum."""
    top, left, bottom, right = pads
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    n, (m, c, kh, kw) = x.shape[0], w.shape
    high, wide = (
        (x.shape[2 + a] - (w.shape[2 + a] - 1) * dilations[a] - 1) // strides[a] + 1 for a in (0, 1)
    )
    y = np.zeros((n, m, high, wide), np.int64)
    for f, ch, i, j in product(range(m), range(c), range(kh), range(kw)):
        at = f // (m // group) * c + ch
        part = x[:, at, i * dilations[0] :, j * dilations[1] :][:, :: strides[0], :: strides[1]]
        y[:, f] += part[:, :high, :wide] * int(w[f, ch, i, j])
    return y


CONVOLUTIONS = {  # channels, filters, kernel, attributes
    "plain": (3, 4, (3, 3), {"pads": [1, 1, 1, 1]}),
    "strided": (5, 3, (3, 2), {"strides": [2, 1], "pads": [0, 1, 1, 0]}),
    "dilated": (2, 3, (2, 2), {"dilations": [2, 3]}),
    "depthwise": (6, 6, (3, 3), {"group": 6, "pads": [1, 1, 1, 1]}),
    "grouped": (8, 4, (1, 1), {"group": 2}),
    "deep": (67, 2, (3, 3), {"pads": [1, 1, 1, 1]}),
    "deeper": (600, 3, (1, 1), {}),
}


def convolution(name, dtype):
    channels, filters, kernel, attrs = CONVOLUTIONS[name]
    group = attrs.get("group", 1)
    x = whole(dtype, 2, channels, 7, 8)
    x[0] = np.iinfo(dtype).max
    w = whole("int8", filters, channels // group, *kernel, seed=1)
    w[0] = -128
    how = (attrs.get("pads", [0] * 4), attrs.get("strides", [1, 1]), attrs.get("dilations", [1, 1]), group)
    return x, w, how, attrs


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_conv_integer(name, dtype):
    """int32 sums without a rounding; what is padded counts as the zero point."""
    x, w, how, attrs = convolution(name, dtype)
    for zx, zw in ((None, None), (whole(dtype, 1)[0], np.int8(0)), (whole(dtype, 1)[0], np.int8(-7))):
        names = "x w" if zx is None else "x w zx zw"
        constants = {"w": w} if zx is None else {"w": w, "zx": np.asarray(zx), "zw": np.asarray(zw)}
        model = file(
            [node("ConvInteger", names, "y", **attrs)],
            {"x": (CODES[dtype], x.shape)},
            {"y": (INT, None)},
            constants,
        )
        program = door.load(model)
        assert isinstance(program, Program), program
        left, right = x.astype(np.int64) - int(zx or 0), w.astype(np.int64) - int(zw or 0)
        want = correlated(left, right, *how).astype(np.int32)
        same(program(x), want)
        if x.shape[1] < 9:
            same(want, reference(model, x))


@pytest.mark.parametrize("exact", [True, False], ids=["powers_of_two", "any_scale"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_qlinear_conv(name, exact):
    """A scale (and a zero point) for each filter, a bias; by powers of two onnx's numbers, ties and
    all.
    """
    x, w, how, attrs = convolution(name, "uint8")
    filters, rng = len(w), np.random.default_rng(2)
    scale = 2.0 ** rng.integers(-8, -5, filters) if exact else rng.uniform(0.002, 0.02, filters)
    constants = {
        "xs": np.float32(0.125 if exact else 0.11),
        "xz": np.uint8(131),
        "w": w,
        "ws": scale.astype(np.float32),
        "wz": np.zeros(filters, np.int8),
        "ys": np.float32(8 if exact else 7.3),
        "yz": np.uint8(120),
        "b": rng.integers(-3000, 3000, filters).astype(np.int32),
    }
    model = file(
        [node("QLinearConv", "x xs xz w ws wz ys yz b", "y", **attrs)],
        {"x": (BYTE, x.shape)},
        {"y": (BYTE, None)},
        constants,
    )
    program = door.load(model)
    assert isinstance(program, Program), program
    total = correlated(x.astype(np.int64) - 131, w.astype(np.int64), *how)
    total += constants["b"].reshape(-1, 1, 1)
    factor = float(constants["xs"]) * constants["ws"].astype(np.float64) / float(constants["ys"])
    want = total * factor.reshape(-1, 1, 1)
    if exact:
        same(program(x), np.clip(np.rint(want) + 120, 0, 255).astype(np.uint8))
    else:
        assert_rounded(program(x), want, 120, np.dtype(np.uint8))


@pytest.mark.parametrize("exact", [True, False], ids=["powers_of_two", "any_scale"])
@pytest.mark.parametrize("depth", [9, 300, 1100])
def test_qlinear_matmul(depth, exact):
    a, b, rng = whole("uint8", 4, depth), whole("int8", depth, 5, seed=1), np.random.default_rng(3)
    each = 2.0 ** rng.integers(-9, -6, 5) if exact else rng.uniform(0.002, 0.02, 5)
    for scale, zero in ((np.float32(each[0]), np.int8(3)), (each.astype(np.float32), whole("int8", 5))):
        constants = {
            "as": np.float32(0.25 if exact else 0.23),
            "az": np.uint8(99),
            "b": b,
            "bs": scale,
            "bz": zero,
            "ys": np.float32(16 if exact else 15.1),
            "yz": np.int8(-4),
        }
        model = file(
            [node("QLinearMatMul", "a as az b bs bz ys yz", "y")],
            {"a": (BYTE, a.shape)},
            {"y": (CHAR, None)},
            constants,
        )
        program = door.load(model)
        assert isinstance(program, Program), program
        total = (a.astype(np.int64) - 99) @ (b.astype(np.int64) - np.asarray(zero, np.int64))
        want = total * (float(constants["as"]) * np.asarray(scale, np.float64) / float(constants["ys"]))
        if exact:
            same(program(a), np.clip(np.rint(want) - 4, -128, 127).astype(np.int8))
            same(program(a), reference(model, a))
        else:
            assert_rounded(program(a), want, -4, np.dtype(np.int8))


def affine(x, scale, zero):
    return (x.astype(np.float64) - float(zero)) * float(scale)


MICROSOFT = {
    "QLinearAdd": lambda a, b: a + b,
    "QLinearMul": lambda a, b: a * b,
    "QLinearSigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "QLinearLeakyRelu": lambda a: np.where(a < 0, 0.25 * a, a),
    "QLinearGlobalAveragePool": lambda a: a.mean((2, 3), keepdims=True),
    "QLinearSoftmax": lambda a: np.exp(a) / np.exp(a).sum(-1, keepdims=True),
}


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("op", [*MICROSOFT, "QLinearConcat"])
def test_onnx_runtimes_quantised_operators(op, dtype):
    a, b = whole(dtype, 2, 4, 5, 3), whole(dtype, 2, 4, 5, 3, seed=4)
    zeros = [whole(dtype, 1, seed=i)[0] for i in (1, 2, 3)]
    scales = [
        np.float32(v)
        for v in (0.0517, 0.0293, 0.0113 if op in ("QLinearSigmoid", "QLinearSoftmax") else 0.0911)
    ]
    held = {f"s{i}": s for i, s in enumerate(scales)} | {f"z{i}": np.asarray(z) for i, z in enumerate(zeros)}
    count = 2 if op in ("QLinearAdd", "QLinearMul", "QLinearConcat") else 1
    names = ["a s0 z0", "b s1 z1"][:count]
    order = " ".join(["s2 z2", *names] if op == "QLinearConcat" else [*names, "s2 z2"])
    attrs = {
        "QLinearConcat": {"axis": 1},
        "QLinearLeakyRelu": {"alpha": 0.25},
        "QLinearSoftmax": {"axis": -1, "opset": 13},
    }.get(op, {})
    code = CODES[dtype]
    inputs = {"a": (code, a.shape), **({"b": (code, b.shape)} if count == 2 else {})}
    made = node(op, order, "y", domain="com.microsoft", **attrs)
    program = door.load(file([made], inputs, {"y": (code, None)}, held))
    assert isinstance(program, Program), program
    operands = [affine(v, s, z) for v, s, z in zip((a, b), scales, zeros)][:count]
    exact = np.concatenate(operands, 1) if op == "QLinearConcat" else MICROSOFT[op](*operands)
    got = program(*(a, b)[:count])
    assert_rounded(got, exact / float(scales[2]), float(zeros[2]), np.dtype(dtype))


@pytest.mark.parametrize("bits", [4, 8])
def test_weights_of_few_bits(bits):
    """MatMulNBits: blocks of a row with a scale and a zero point each, the last one short."""
    n, k, block, rng = 6, 40, 16, np.random.default_rng(0)
    blocks = -(-k // block)
    values = rng.integers(0, 1 << bits, (n, blocks, block))
    zero = rng.integers(0, 1 << bits, (n, blocks))
    scales = rng.uniform(0.01, 0.1, (n, blocks)).astype(np.float32)

    def packed(v):
        v = np.concatenate([v, np.zeros((*v.shape[:-1], v.shape[-1] % 2), v.dtype)], -1) if bits == 4 else v
        return (v if bits == 8 else v[..., ::2] | v[..., 1::2] << 4).astype(np.uint8)

    x = floats(3, k)
    for zeros in (None, zero):
        weight = (values - (1 << bits - 1 if zeros is None else zeros[..., None])) * scales[..., None].astype(
            np.float64
        )
        constants = {"b": packed(values), "s": scales.reshape(-1)}
        constants |= {} if zeros is None else {"z": packed(zeros).reshape(-1)}
        made = node(
            "MatMulNBits",
            " ".join(["x", *constants]),
            "y",
            domain="com.microsoft",
            N=n,
            K=k,
            bits=bits,
            block_size=block,
        )
        program = door.load(file([made], {"x": (FLOAT, x.shape)}, {"y": (FLOAT, None)}, constants))
        assert isinstance(program, Program), program
        want = x @ weight.reshape(n, -1)[:, :k].T
        np.testing.assert_allclose(program(x), want, atol=1e-5 * np.abs(want).max())


# ---- a small network in both forms

SCALES = {"x": 2.0**-5, "w": 2.0**-6, "c": 2.0**-3, "m": 2.0**-7, "y": 4.0}  # sums stay exact in float32


def network(form):
    """A convolution with relu (a zero point of 0 cuts it), pooling and a product, quantised to
    bytes.
    """
    w, m = whole("int8", 6, 3, 3, 3), whole("int8", 6 * 4 * 4, 5)
    bias = np.random.default_rng(1).integers(-500, 500, 6).astype(np.int32)
    constants = {f"{name}_s": np.float32(scale) for name, scale in SCALES.items()}
    constants |= {"x_z": np.uint8(128), "w_z": np.int8(0), "c_z": np.uint8(0), "m_z": np.int8(0)}
    constants |= {"y_z": np.int8(5), "w": w, "m": m, "b": bias}
    begin, end = node("QuantizeLinear", "x x_s x_z", "xq"), node("DequantizeLinear", "yq y_s y_z", "y")
    if form == "operators":
        nodes = [
            begin,
            node("QLinearConv", "xq x_s x_z w w_s w_z c_s c_z b", "cq", pads=[1, 1, 1, 1]),
            node("MaxPool", "cq", "pq", kernel_shape=[2, 2], strides=[2, 2]),
            node("Flatten", "pq", "f"),
            node("QLinearMatMul", "f c_s c_z m m_s m_z y_s y_z", "yq"),
            end,
        ]
    else:
        constants |= {"b_s": np.float32(SCALES["x"] * SCALES["w"]), "b_z": np.int32(0)}
        nodes = [
            begin,
            *(
                node("DequantizeLinear", f"{a} {b}_s {b}_z", f"{b}_f")
                for a, b in (("xq", "x"), ("w", "w"), ("b", "b"), ("m", "m"))
            ),
            node("Conv", "x_f w_f b_f", "c", pads=[1, 1, 1, 1]),
            node("Relu", "c", "r"),
            node("QuantizeLinear", "r c_s c_z", "cq"),
            node("DequantizeLinear", "cq c_s c_z", "c_f"),
            node("MaxPool", "c_f", "p", kernel_shape=[2, 2], strides=[2, 2]),
            node("Flatten", "p", "f"),
            node("MatMul", "f m_f", "g"),
            node("QuantizeLinear", "g y_s y_z", "yq"),
            end,
        ]
    return file(nodes, {"x": (FLOAT, ("n", 3, 8, 8))}, {"y": (FLOAT, None)}, constants)


def test_a_quantised_network_in_both_forms():
    """The same numbers, which are onnx's."""
    found = []
    for form in ("operators", "pairs"):
        model = network(form)
        program = door.load(model, shapes={"x": (2, 3, 8, 8)}, precision="strict")
        assert isinstance(program, Program), program
        x = np.clip(floats(2, 3, 8, 8) * 2, -4, 3.9)
        got = program(x)
        same(got, reference(model, x))
        assert len(np.unique(got)) > 5
        found.append(got)
    same(*found)


def test_a_quantised_network_takes_any_batch():
    model = network("pairs")
    program = door.load(model, precision="strict")
    for n in (1, 3):
        x = np.clip(floats(n, 3, 8, 8) * 2, -4, 3.9)
        same(program(x), reference(model, x))
    assert isinstance(program, Program)
